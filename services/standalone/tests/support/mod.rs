//! A `glance` of a test's own, and questions to it.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use glance_testing::{Process, ProcessBuilder, eventually, nats_server_program};
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Bound on everything that is waited for; far above what it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The program under test, with its own broker, its data in `data`, and any free port.
pub(crate) fn glance(data: &Path) -> ProcessBuilder {
    Process::at(env!("CARGO_BIN_EXE_glance"))
        .env("GLANCE_BOTS", "main:4;demo:1")
        .env("GLANCE_HOST", "127.0.0.1")
        .env("GLANCE_PORT", "0")
        .env("GLANCE_DATA_DIR", data)
        .env("GLANCE_NATS_SERVER", nats_server_program())
}

/// A running `glance`.
pub(crate) struct Glance {
    pub(crate) process: Process,
    /// Where it answers: `http://127.0.0.1:<port>`.
    pub(crate) site: String,
    /// Where its broker is.
    pub(crate) broker: String,
    /// The command that it says turns a shard green.
    pub(crate) curl: String,
}

impl Glance {
    /// Starts it and waits until it says where it is.
    pub(crate) async fn start(builder: ProcessBuilder) -> Self {
        let mut process = builder.start();
        let curl = process.wait_for_line("curl -X POST", LIMIT).await;
        let page = process.wait_for_line("page: ", LIMIT).await;
        let broker = process.wait_for_line("broker: ", LIMIT).await;
        Self {
            process,
            site: after(&page, "page: ").trim_end_matches('/').to_owned(),
            broker: after(&broker, "broker: ").to_owned(),
            curl: curl.trim().to_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        self.ask(Method::GET, path).await.expect("glance answers")
    }

    /// Posts until it is accepted.
    pub(crate) async fn post_until_accepted(&self, path: &str, limit: Duration) {
        eventually(limit, async || {
            let (status, _) = self.ask(Method::POST, path).await?;
            (status == StatusCode::NO_CONTENT).then_some(())
        })
        .await;
    }

    /// Nothing if there was no answer.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Option<(StatusCode, Bytes)> {
        self.ask_as("", method, path).await
    }

    /// The same with a passphrase.
    pub(crate) async fn ask_as(
        &self,
        passphrase: &str,
        method: Method,
        path: &str,
    ) -> Option<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .header("authorization", passphrase)
            .uri(format!("{}{path}", self.site))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.ok()?;
        let status = response.status();
        Some((
            status,
            response.into_body().collect().await.ok()?.to_bytes(),
        ))
    }

    /// One cluster of the snapshot.
    pub(crate) async fn cluster(&self, name: &str) -> Option<Value> {
        let (status, body) = self.ask(Method::GET, "/api/snapshot").await?;
        let snapshot: Value = serde_json::from_slice(&body).ok()?;
        let mut clusters = snapshot["clusters"].as_array()?.iter();
        let found = clusters.find(|cluster| cluster["name"] == name).cloned();
        found.filter(|_| status == StatusCode::OK)
    }

    /// Waits until the snapshot shows these states.
    pub(crate) async fn wait_for_states(&self, cluster: &str, states: &str) {
        eventually(LIMIT, async || {
            let shown = self.cluster(cluster).await?;
            (shown["states"] == states).then_some(())
        })
        .await;
    }

    /// The id of its nats-server, once there is one other than `not`.
    pub(crate) async fn server(&self, not: Option<u32>) -> u32 {
        eventually(LIMIT, async || {
            let mut servers = children(self.process.id()).into_iter();
            servers.find(|id| Some(*id) != not && name_of(*id).as_deref() == Some("nats-server"))
        })
        .await
    }
}

fn after<'a>(line: &'a str, mark: &str) -> &'a str {
    line.split_once(mark).map_or("", |(_, rest)| rest).trim()
}

/// The processes that `parent` has started and that have not ended.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|ids| {
            ids.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<u32>>()
        })
        .filter(|id| runs(*id))
        .collect()
}

/// Whether a process runs: one that has ended, and whose parent has not noticed yet, does not.
pub(crate) fn runs(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"))
    })
}

/// Waits until a process has ended.
pub(crate) async fn wait_for_end(id: u32) {
    eventually(LIMIT, async || (!runs(id)).then_some(())).await;
}

fn name_of(id: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Kills a process as a crash would.
pub(crate) fn kill(id: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &id.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}
