//! Several passphrases, their scopes, their change while the program runs, and what follows wrong ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{Answer, Client, LIMIT, set_up, wait_ready};
use glance_testing::{NatsServer, Process, ProcessBuilder, Signal, free_port};

const STATUS: &str = "/api/status/main/1/3";
const REPORT: &[u8] = br#"{"cluster":"main","shards":[{"id":1,"state":3}]}"#;

/// A file as Kubernetes mounts a secret: a link into a folder that a link names, which is exchanged at once.
struct Secret {
    folder: tempfile::TempDir,
    versions: u32,
}

impl Secret {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink("..data/passphrases", folder.path().join("passphrases")).unwrap();
        let mut secret = Self {
            folder,
            versions: 0,
        };
        secret.change(text);
        secret
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("passphrases")
    }

    fn change(&mut self, text: &str) {
        self.versions += 1;
        let at = |name: &str| self.folder.path().join(name);
        let version = format!("..version{}", self.versions);
        fs::create_dir(at(&version)).unwrap();
        let file = at(&version).join("passphrases");
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&version, at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
    }
}

fn program(port: u16, nats_url: &str, file: &Path) -> ProcessBuilder {
    Process::at(env!("CARGO_BIN_EXE_glance-bridge"))
        .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
        .env("GLANCE_BRIDGE_PORT", port.to_string())
        .env("GLANCE_NATS_URL", nats_url)
        .env("GLANCE_PASSPHRASES_FILE", file)
}

struct Setting {
    _server: NatsServer,
    secret: Secret,
    process: Process,
    port: u16,
}

impl Setting {
    async fn new(text: &str) -> Self {
        let server = NatsServer::start().await;
        set_up(&server, &[("main", 4), ("demo", 4)]).await;
        let (secret, port) = (Secret::new(text), free_port());
        let process = program(port, &server.url(), &secret.path())
            .env("GLANCE_PASSPHRASE", "the literal one")
            .start();
        let mut setting = Self {
            _server: server,
            secret,
            process,
            port,
        };
        setting.process.wait_for_line("listening on", LIMIT).await;
        wait_ready(port).await;
        setting
    }

    /// Changes the file and says so; waits for a line of the log with this text.
    async fn reload(&mut self, text: &str, line: &str) {
        self.secret.change(text);
        let lines = self.process.lines_printed();
        self.process.signal(Signal::HUP);
        self.process.wait_for_line_after(lines, line, LIMIT).await;
    }
}

async fn post(client: &mut Client, passphrase: &str) -> u16 {
    let headers = [("authorization", passphrase)];
    client.send("POST", STATUS, &headers, b"").await.status
}

#[tokio::test]
async fn passphrases_are_exchanged_without_a_dropped_connection() {
    let mut setting = Setting::new("* the old one\n").await;
    let mut kept = Client::connect(setting.port).await;
    assert_eq!(post(&mut kept, "the old one").await, 204);
    assert_eq!(post(&mut kept, "the new one").await, 401);
    let both = "* the old one\nmain the new one\n";
    setting.reload(both, "passphrases: 3").await;
    for passphrase in ["the old one", "the new one", "the literal one"] {
        assert_eq!(post(&mut kept, passphrase).await, 204, "{passphrase}");
    }
    // A request that was begun with the old one is finished with it.
    let mut begun = Client::connect(setting.port).await;
    let headers = [("authorization", "the old one")];
    begun
        .send_head("POST", "/api/report", &headers, REPORT.len())
        .await;
    begun.write(&REPORT[..1]).await;
    assert_eq!(post(&mut kept, "the new one").await, 204);
    setting
        .reload(
            "main the new one\n",
            "passphrases: 2, 1 of them for everything",
        )
        .await;
    begun.write(&REPORT[1..]).await;
    assert_eq!(begun.answer("POST").await.status, 200);
    assert_eq!(post(&mut begun, "the old one").await, 401);
    assert_eq!(post(&mut kept, "the old one").await, 401);
    assert_eq!(post(&mut kept, "the new one").await, 204);

    // What is wrong changes nothing.
    for (wrong, line) in [
        ("", "it has no passphrase"),
        ("hunter2hunter2", "line 1 has no scope"),
    ] {
        setting.reload(wrong, line).await;
        assert_eq!(post(&mut kept, "the new one").await, 204);
        assert_eq!(post(&mut kept, "").await, 401);
    }
    setting.process.signal(Signal::TERM);
    assert_eq!(setting.process.wait_exit(LIMIT).await.code(), Some(0));
    let output = setting.process.output();
    for secret in ["the old one", "the new one", "the literal one", "hunter2"] {
        assert!(!output.contains(secret), "{output}");
    }
    let wrong = output.matches("stay as they were").count();
    assert_eq!(wrong, 2, "{output}");
}

#[tokio::test]
async fn a_passphrase_is_good_for_its_clusters_alone() {
    let text = "* for everything\nmain for main only\ndemo,gone for two others\n";
    let setting = Setting::new(text).await;
    let body: &[u8] = b"{\"text\":\"x\",\"severity\":\"info\"}";
    let report =
        |cluster| format!("{{\"cluster\":\"{cluster}\",\"shards\":[{{\"id\":1,\"state\":3}}]}}");
    let (to_main, to_nope) = (report("main"), report("nope"));
    let table: [(&str, &str, &[u8], [u16; 4]); 14] = [
        // For everything, for main, for demo and one that is gone, and for nothing.
        ("POST", STATUS, b"", [204, 204, 401, 401]),
        ("POST", "/api/health/main/1", b"", [204, 204, 401, 401]),
        ("POST", "/api/status/demo/1/3", b"", [204, 401, 204, 401]),
        ("POST", "/api/status/nope/1/3", b"", [400, 401, 401, 401]),
        ("POST", "/api/status/gone/1/3", b"", [400, 401, 400, 401]),
        ("POST", "/api/status/MAIN/1/3", b"", [400, 401, 401, 401]),
        (
            "POST",
            "/api/report",
            to_main.as_bytes(),
            [200, 200, 401, 401],
        ),
        (
            "POST",
            "/api/report",
            to_nope.as_bytes(),
            [400, 401, 401, 401],
        ),
        ("POST", "/api/report", b"{}", [400, 400, 400, 401]),
        ("PUT", "/api/announcement", body, [204, 401, 401, 401]),
        ("DELETE", "/api/announcement", b"", [204, 401, 401, 401]),
        ("PUT", "/api/maintenance/main", body, [204, 204, 401, 401]),
        ("PUT", "/api/maintenance/demo/3", body, [204, 401, 204, 401]),
        ("DELETE", "/api/maintenance/gone", b"", [204, 401, 204, 401]),
    ];
    let passphrases = [
        "for everything",
        "Bearer for main only",
        "for two others",
        "for nothing",
    ];
    for (row, (method, path, body, wanted)) in (1..).zip(table) {
        // Each row from an address of its own, as failures are slowed.
        let mut client = Client::connect_from([127, 0, 3, row], setting.port).await;
        for (passphrase, status) in passphrases.iter().zip(wanted) {
            let headers = [("authorization", *passphrase)];
            let answer = client.send(method, path, &headers, body).await;
            assert_eq!(
                answer.status, status,
                "{method} {path} {passphrase}: {answer:?}"
            );
            if status == 401 {
                answer.assert_error(401, "this endpoint requires authorization");
            }
        }
    }
}

#[tokio::test]
async fn wrong_passphrases_are_slowed_and_right_ones_are_not() {
    let mut setting = Setting::new("* the right one\n").await;
    let address = [127, 0, 4, 1];
    let mut guesser = Client::connect_from(address, setting.port).await;
    let mut bot = Client::connect_from(address, setting.port).await;
    let start = Instant::now();
    for _ in 0..7 {
        assert_eq!(post(&mut guesser, "hunter2").await, 401);
    }
    // The sixth and the seventh.
    assert!(start.elapsed() >= Duration::from_millis(300), "{start:?}");
    let headers = [("authorization", "hunter2")];
    let asked = Instant::now();
    guesser.send_head("POST", STATUS, &headers, 0).await;
    let guess = async {
        let Answer { status, .. } = guesser.answer("POST").await;
        (status, asked.elapsed())
    };
    let right = async {
        for _ in 0..10 {
            assert_eq!(post(&mut bot, "the right one").await, 204);
        }
        asked.elapsed()
    };
    let ((status, slow), quick) = tokio::join!(guess, right);
    assert_eq!(status, 401);
    assert!(
        slow >= Duration::from_millis(400) && quick < slow,
        "{slow:?} {quick:?}"
    );
    let line = setting.process.wait_for_line("was refused", LIMIT).await;
    assert!(line.contains("127.0.4.1"), "{line}");
    let output = setting.process.output();
    assert!(!output.contains("hunter2"), "{output}");
    assert_eq!(output.matches("was refused").count(), 1, "{output}");
}

#[tokio::test]
async fn a_scope_that_is_no_cluster_is_warned_of() {
    let mut setting = Setting::new("* the old one of all\nmian hunter2hunter2\n").await;
    let useless = "line 2 opens nothing";
    setting.process.wait_for_line(useless, LIMIT).await;
    // The beginning of a passphrase whose scope was forgotten.
    let useless = "line 1 opens nothing";
    setting
        .reload("hunter2 horse battery staple\n", useless)
        .await;
    let lines = setting.process.lines_printed();
    setting
        .reload("main,gone the new one\n", "passphrases: 2")
        .await;
    let output = setting.process.output();
    assert!(
        !output.contains("mian") && !output.contains("hunter2"),
        "{output}"
    );
    let after: Vec<_> = output.lines().skip(lines).collect();
    assert!(!after.join("\n").contains("opens nothing"), "{output}");
}

#[tokio::test]
async fn they_can_be_changed_while_the_broker_is_waited_for() {
    let mut secret = Secret::new("* the old one\n");
    let (port, url) = (free_port(), format!("nats://127.0.0.1:{}", free_port()));
    let mut process = program(port, &url, &secret.path()).start();
    process.wait_for_line("listening on", LIMIT).await;
    let mut client = Client::connect(port).await;
    assert_eq!(post(&mut client, "the old one").await, 503);
    secret.change("* the new one\n");
    process.signal(Signal::HUP);
    process.wait_for_line("passphrases: 1", LIMIT).await;
    assert_eq!(post(&mut client, "the old one").await, 401);
    assert_eq!(post(&mut client, "the new one").await, 503);
}

#[tokio::test]
async fn a_wrong_file_ends_the_start_and_sighup_without_one_ends_nothing() {
    let secret = Secret::new("hunter2hunter2\n");
    let port = free_port();
    let url = format!("nats://127.0.0.1:{}", free_port());
    let mut process = program(port, &url, &secret.path()).start();
    assert_eq!(process.wait_exit(LIMIT).await.code(), Some(2));
    let output = process.output();
    let wanted = format!(
        "GLANCE_PASSPHRASES_FILE: entry '{}': line 1",
        secret.path().display()
    );
    assert!(output.contains(&wanted), "{output}");
    assert!(!output.contains("hunter2"), "{output}");

    let mut process = program(port, &url, Path::new("")).start();
    process.wait_for_line("listening on", LIMIT).await;
    process.signal(Signal::HUP);
    process
        .wait_for_line("SIGHUP: there is no file to read again", LIMIT)
        .await;
    assert_eq!(post(&mut Client::connect(port).await, "").await, 503);
}

/// SIGHUP is also what the end of a terminal sends.
#[tokio::test]
async fn it_stops_when_its_terminal_is_closed() {
    // With the log on the terminal, and in a pipe.
    const IN_A_TERMINAL: &str = r"
import os, pty, sys
reading, writing = os.pipe()
child, terminal = pty.fork()
if child == 0:
    if sys.argv[1] == 'pipe':
        os.dup2(writing, 2)
    os.execv(sys.argv[2], sys.argv[2:])
log = reading if sys.argv[1] == 'pipe' else terminal
seen = b''
while b'listening on' not in seen:
    seen += os.read(log, 4096)
os.close(terminal)
print('ended with', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
    for log in ["terminal", "pipe"] {
        let mut python = Process::at("python3")
            .args(["-c", IN_A_TERMINAL, log])
            .arg(env!("CARGO_BIN_EXE_glance-bridge"))
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", free_port().to_string())
            .env(
                "GLANCE_NATS_URL",
                format!("nats://127.0.0.1:{}", free_port()),
            )
            .start();
        python.wait_for_line("ended with 0", LIMIT).await;
    }
}
