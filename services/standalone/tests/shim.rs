//! The hidden way in which `glance` starts its broker: a process that does not outlive the one that started it.

use std::time::Duration;

use glance_testing::Process;

const LIMIT: Duration = Duration::from_secs(10);

async fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let glance = Process::at(env!("CARGO_BIN_EXE_glance"));
    let mut process = glance.arg("__child").args(arguments).start();
    let status = process.wait_exit(LIMIT).await;
    process.wait_for_line("", LIMIT).await;
    (status.code(), process.output())
}

#[tokio::test]
async fn becomes_the_program() {
    let parent = std::process::id().to_string();
    let (code, output) = run(&[&parent, "--", "/bin/sh", "-c", "echo $0; exit 7", "became"]).await;
    assert_eq!((code, output.as_str()), (Some(7), "became"));
}

/// The parent has died before the kernel was asked to watch it.
#[tokio::test]
async fn an_orphan_starts_nothing() {
    let (code, output) = run(&["1", "--", "/bin/sh", "-c", "echo started"]).await;
    assert_eq!(code, Some(127));
    assert!(output.contains("is gone"), "{output}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let parent = std::process::id().to_string();
    let (code, output) = run(&[&parent, "--", "/no/such"]).await;
    assert_eq!(code, Some(127));
    assert!(output.contains("/no/such cannot be started"), "{output}");
}

#[tokio::test]
async fn other_uses_are_refused() {
    for arguments in [
        &[][..],
        &["x", "--", "/bin/true"],
        &["1"],
        &["1", "/bin/true"],
    ] {
        assert_eq!(run(arguments).await.0, Some(127), "{arguments:?}");
    }
}
