//! The page and its parts: embedded in the program, or from a folder. They are
//! read and compressed once, at the start; a request only looks a name up.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use bytes::Bytes;
use glance_runner::ConfigError;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::representation::{Representation, etag_of, hex};

const INDEX: &str = "index.html";
/// Files at the top of the folder that are served.
const FILES: [&str; 2] = [INDEX, "config.js"];
/// Folders in it that are served with all that is in them.
const FOLDERS: [&str; 3] = ["css", "js", "icons"];
const DEPTH_MAX: usize = 8;
const FILES_MAX: usize = 1000;
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(RustEmbed)]
#[folder = "../../web"]
#[include = "index.html"]
#[include = "config.js"]
#[include = "css/*"]
#[include = "js/*"]
#[include = "icons/*"]
struct Embedded;

/// The page with all its parts.
#[derive(Debug)]
pub(crate) struct Page {
    files: BTreeMap<String, Representation>,
    build: Arc<str>,
}

impl Page {
    /// The page that is part of the program.
    #[must_use]
    pub(crate) fn embedded() -> Self {
        let files = Embedded::iter().filter_map(|name| {
            let file = Embedded::get(&name)?;
            Some((name.into_owned(), file.data.into_owned().into()))
        });
        let page = Self::of(files);
        if page.index().is_none() {
            warn!("this program was built without a page");
        }
        page
    }

    /// The page in a folder.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or holds no `index.html`.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self, ConfigError> {
        let error = |problem: String| {
            ConfigError::new("GLANCE_PAGE_DIR", &folder.display().to_string(), problem)
        };
        let mut files = Vec::new();
        for name in FILES.iter().chain(&FOLDERS) {
            collect(folder, Path::new(name), DEPTH_MAX, &mut files)
                .map_err(|e| error(format!("cannot be read ({e}); correct the folder")))?;
        }
        let page = Self::of(files.into_iter());
        if page.index().is_none() {
            return Err(error(format!(
                "holds no {INDEX}; name a folder with a page, or unset the variable"
            )));
        }
        Ok(page)
    }

    fn of(files: impl Iterator<Item = (String, Bytes)>) -> Self {
        let files: BTreeMap<String, Bytes> = files.collect();
        let mut build = Sha256::new();
        let mut representations = BTreeMap::new();
        for (name, body) in files {
            let Some(content_type) = content_type(&name) else {
                continue;
            };
            let hash = Sha256::digest(&body);
            build.update(&name);
            build.update(hash);
            let representation = Representation::new(content_type, body, etag_of(&hash));
            representations.insert(name, representation);
        }
        Self {
            files: representations,
            build: hex(&build.finalize()).into(),
        }
    }

    /// A hash of all parts: another one means another page.
    #[must_use]
    pub(crate) fn build(&self) -> Arc<str> {
        self.build.clone()
    }

    /// What `/` serves.
    #[must_use]
    pub(crate) fn index(&self) -> Option<&Representation> {
        self.files.get(INDEX)
    }

    /// What `/assets/<name>` serves. A name is only looked up, never opened.
    #[must_use]
    pub(crate) fn asset(&self, name: &str) -> Option<&Representation> {
        self.files.get(name).filter(|_| name != INDEX)
    }
}

/// Reads a file, or all files in a folder that is below `root`. What is not there is left out.
fn collect(
    root: &Path,
    name: &Path,
    depth: usize,
    files: &mut Vec<(String, Bytes)>,
) -> std::io::Result<()> {
    let path = root.join(name);
    if path.is_dir() && depth > 0 {
        for entry in fs::read_dir(path)? {
            collect(root, &name.join(entry?.file_name()), depth - 1, files)?;
        }
    } else if path.is_file()
        && files.len() < FILES_MAX
        && fs::metadata(&path)?.len() <= FILE_BYTES_MAX
        && let Some(name) = name.to_str()
        && content_type(name).is_some()
    {
        files.push((name.to_owned(), fs::read(&path)?.into()));
    }
    Ok(())
}

/// `None` for what is no part of a page.
fn content_type(name: &str) -> Option<&'static str> {
    let file = name.rsplit('/').next()?;
    let (stem, extension) = file.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_only_what_belongs_to_a_page() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["css/deep", "js", "tests", "node_modules", ".git"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "index.html",
            "config.js",
            "secret.txt",
            "package.json",
            "css/deep/a.css",
            "css/.hidden.css",
            "css/.env",
            "js/app.js",
            "js/app.ts",
            "tests/a.js",
            "node_modules/a.js",
            ".git/config.js",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let page = Page::from_folder(folder.path()).unwrap();
        let names: Vec<&str> = page.files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "config.js",
                "css/.hidden.css",
                "css/deep/a.css",
                "index.html",
                "js/app.js"
            ]
        );
        assert!(page.asset("index.html").is_none());
        assert!(page.asset("js/../secret.txt").is_none());
        fs::write(folder.path().join("js/app.js"), "other").unwrap();
        let other = Page::from_folder(folder.path()).unwrap();
        assert_ne!(other.build(), page.build());
    }

    #[test]
    fn a_folder_without_a_page_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Page::from_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("GLANCE_PAGE_DIR"), "{error}");
        assert!(Page::from_folder(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn nothing_but_the_page_is_embedded() {
        for name in Embedded::iter() {
            let top = name.split('/').next().unwrap();
            assert!(FILES.contains(&top) || FOLDERS.contains(&top), "{name}");
        }
    }
}
