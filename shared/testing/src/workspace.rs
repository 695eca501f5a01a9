//! Where the files of this workspace are.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
#[must_use]
pub fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The built program `name` of this workspace: in `GLANCE_BIN_DIR` if that is set, otherwise in the folder
/// (`target/debug`, say) that the running test was built into.
///
/// # Panics
///
/// When it is not there, with a sentence that says how to build it.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let folder = env::var_os("GLANCE_BIN_DIR").map_or_else(folder_of_this_build, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// Tests run as `target/<profile>/deps/<test>-<hash>`.
fn folder_of_this_build() -> PathBuf {
    let test = env::current_exe().expect("the system tells the path of the running program");
    let mut folder = test.parent().expect("a program is in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("deps is in a folder");
    }
    folder.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(workspace_root().join("Cargo.toml").is_file());
        assert!(workspace_root().join("shared/testing").is_dir());
    }

    #[test]
    #[should_panic(expected = "no-such-program is not built: run `cargo build")]
    fn a_missing_binary_is_named() {
        let _ = binary("no-such-program");
    }
}
