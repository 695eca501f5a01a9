//! The snippets of the README are the programs in `examples/`, and those work.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, process::Stdio};

use glance_testing::{Process, binary, eventually, workspace_root};
use glance_tests::{LIMIT, get};
use tokio::process::Command;

/// The part of an example that the README shows.
fn snippet(name: &str) -> String {
    let text = fs::read_to_string(workspace_root().join("examples").join(name)).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("#!") && !line.starts_with("//!"));
    let text: Vec<&str> = lines.collect();
    let text = text.join("\n");
    // The rest of the Rust program only calls it.
    let text = text.split("#[tokio::main]").next().unwrap_or_default();
    text.trim().to_owned()
}

#[test]
fn the_readme_shows_the_examples() {
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    for name in [
        "first-report.sh",
        "first_report.py",
        "first-report.mjs",
        "first_report.rs",
    ] {
        let snippet = snippet(name);
        assert!(
            readme.contains(&snippet),
            "README.md lacks {name}:\n{snippet}"
        );
        let is_import = |line: &&str| line.starts_with("import") || line.starts_with("use ");
        let code = snippet
            .lines()
            .filter(|line| !line.is_empty() && !is_import(line));
        assert!(code.count() <= 5, "{name} is longer than five lines");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_turns_the_shard_green() {
    let scratch = scratch();
    let module = scratch.path().join("first-report.mjs");
    let examples = workspace_root().join("examples");
    for (program, argument) in [
        ("sh", examples.join("first-report.sh")),
        ("python3", examples.join("first_report.py")),
        ("node", module),
        ("", binary("examples/first_report")),
    ] {
        let (mut glance, port, broker) = start_glance().await;
        let mut command = match program {
            "" => Command::new(&argument),
            _ => Command::new(program),
        };
        if !program.is_empty() {
            command.arg(&argument);
        }
        let output = command
            .env("GLANCE_URL", format!("http://127.0.0.1:{port}"))
            .env("GLANCE_NATS_URL", broker)
            .env("PYTHONPATH", workspace_root().join(".tools/python"))
            .stdin(Stdio::null())
            .output();
        let output = tokio::time::timeout(LIMIT, output).await.unwrap().unwrap();
        assert!(
            output.status.success(),
            "{}: {output:?}",
            argument.display()
        );
        wait_green(port, &argument).await;
        glance.signal(rustix::process::Signal::TERM);
        glance.wait_exit(LIMIT).await;
    }
}

/// Node.js looks for packages beside the file.
fn scratch() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let module = "first-report.mjs";
    let example = workspace_root().join("examples").join(module);
    fs::copy(example, scratch.path().join(module)).unwrap();
    let packages = fs::canonicalize(workspace_root().join("tests/node_modules"))
        .expect("tests/node_modules is there: `make test` installs it");
    std::os::unix::fs::symlink(packages, scratch.path().join("node_modules")).unwrap();
    scratch
}

async fn start_glance() -> (Process, u16, String) {
    let mut glance = Process::of("glance")
        .env("GLANCE_NATS_SERVER", glance_testing::nats_server_program())
        .env("GLANCE_BOTS", "main:4")
        .env("GLANCE_HOST", "127.0.0.1")
        .env("GLANCE_PORT", "0")
        .start();
    let page = glance.wait_for_line("page: ", LIMIT).await;
    let port = page.trim_end_matches('/').rsplit(':').next().unwrap();
    let port = port.parse().unwrap();
    let broker = glance.wait_for_line("broker: ", LIMIT).await;
    let broker = broker.trim().trim_start_matches("broker: ").to_owned();
    (glance, port, broker)
}

async fn wait_green(port: u16, example: &Path) {
    let what = example.display();
    eventually(LIMIT, async || {
        let answer = get(port, "/api/snapshot").await;
        let states = answer.json()["clusters"][0]["states"].clone();
        (states == "3000").then_some(())
    })
    .await;
    println!("{what} turned the shard green");
}
