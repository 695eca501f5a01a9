//! Programs as processes, tried with the shell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use glance_testing::{Process, ProcessBuilder, Signal, eventually};

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> ProcessBuilder {
    Process::at("/bin/sh").args(["-c", script])
}

#[tokio::test]
async fn lines_of_both_streams_are_seen() {
    let mut process = shell("echo to stdout; echo to stderr >&2; exec sleep 60").start();
    assert_eq!(process.wait_for_line("stdout", LIMIT).await, "to stdout");
    assert_eq!(process.wait_for_line("stderr", LIMIT).await, "to stderr");
    assert_eq!(process.lines_printed(), 2);
}

#[tokio::test]
async fn a_later_line_of_the_same_kind_can_be_waited_for() {
    let mut process =
        shell("trap 'echo ready again' TERM; echo ready; while :; do sleep 0.01; done").start();
    process.wait_for_line("ready", LIMIT).await;
    let before = process.lines_printed();
    process.signal(Signal::TERM);
    assert_eq!(
        process.wait_for_line_after(before, "ready", LIMIT).await,
        "ready again"
    );
}

#[tokio::test]
async fn a_paused_program_goes_on_where_it_stood() {
    let mut process =
        shell("trap 'echo got it' TERM; echo ready; while :; do sleep 0.01; done").start();
    process.wait_for_line("ready", LIMIT).await;
    process.pause();
    process.signal(Signal::TERM);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    assert!(stat.contains(") T "), "{stat}");
    assert_eq!((process.exited(), process.lines_printed()), (None, 1));
    process.resume();
    process.wait_for_line("got it", LIMIT).await;
}

#[tokio::test]
async fn a_restart_keeps_arguments_environment_folder_and_output() {
    let builder = shell("echo run >> runs; echo $NAME $(grep -c run runs); exec sleep 60")
        .env("NAME", "number");
    let mut process = builder.clone().start();
    assert_eq!(process.wait_for_line("number", LIMIT).await, "number 1");
    let first = process.id();

    process.restart().await;
    // The line of the first run is not taken for one of the second.
    assert_eq!(process.wait_for_line("number", LIMIT).await, "number 2");
    assert_ne!(process.id(), first);
    assert!(!runs(&first.to_string()));
    assert_eq!(process.output(), "number 1\nnumber 2");

    process.signal(Signal::KILL);
    process.wait_exit(LIMIT).await;
    process.restart().await;
    assert_eq!(process.wait_for_line("number", LIMIT).await, "number 3");

    // A copy of the builder starts a process of its own.
    let mut other = builder.start();
    assert_eq!(other.wait_for_line("number", LIMIT).await, "number 1");
}

#[tokio::test]
async fn a_paused_program_can_be_restarted() {
    let mut process = shell("echo ready; exec sleep 60").start();
    process.wait_for_line("ready", LIMIT).await;
    process.pause();
    process.restart().await;
    process.wait_for_line("ready", LIMIT).await;
}

#[tokio::test]
async fn the_environment_is_clean() {
    let mut process = shell("cat .env; echo \"$PWD\"; env; echo done")
        .env("GLANCE_BOTS", "main:4")
        .dot_env("FROM_FILE=1\n")
        .start();
    process.wait_for_line("done", LIMIT).await;
    let output = process.output();
    assert!(output.starts_with("FROM_FILE=1\n/"), "{output}");
    assert!(output.contains("\nGLANCE_BOTS=main:4\n"), "{output}");
    assert!(!output.contains("CARGO"), "{output}");
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    assert_eq!(
        shell("exit 2").start().wait_exit(LIMIT).await.code(),
        Some(2)
    );
    let mut process = shell("exec sleep 60").start();
    process.signal(Signal::KILL);
    assert_eq!(process.wait_exit(LIMIT).await.signal(), Some(9));
    // A process that is gone takes any signal.
    process.signal(Signal::KILL);
}

#[tokio::test]
#[should_panic(expected = "sh ended without printing 'never'; it printed:\nsomething else")]
async fn an_end_without_the_line_is_shown_at_once() {
    shell("echo something else")
        .start()
        .wait_for_line("never", LIMIT)
        .await;
}

#[tokio::test]
#[should_panic(expected = "sh did not end within 50ms")]
async fn waiting_for_the_end_is_bounded() {
    let mut process = shell("while :; do sleep 1; done").start();
    process.wait_exit(Duration::from_millis(50)).await;
}

/// Not a test by itself: the next one runs it in a process of its own and kills that.
#[tokio::test]
#[ignore = "started by children_end_with_a_test_that_is_killed"]
async fn hold_a_child() {
    // It is bound to this process a moment after its start, when it runs a line of its own.
    let mut child = shell("echo bound; exec sleep 60").start();
    child.wait_for_line("bound", LIMIT).await;
    println!("child {}", child.id());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn children_end_with_a_test_that_is_killed() {
    // What a killed test leaves behind goes with this folder.
    let folder = tempfile::tempdir().unwrap();
    let mut test = Process::at(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_child", "--ignored", "--nocapture"])
        .env("TMPDIR", folder.path())
        .start();
    let line = test.wait_for_line("child ", LIMIT).await;
    let (_, id) = line.split_once("child ").unwrap();
    assert!(runs(id));

    test.signal(Signal::KILL);
    eventually(LIMIT, async || (!runs(id)).then_some(())).await;
}

/// Whether the process runs. A dead one stays listed until its new parent asks for its end; that is up to the system.
fn runs(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
