//! A wrong setting: exit code 2, and one sentence that names it.

use glance_testing::Process;
use glance_tests::{LIMIT, exit_code};

/// Program, variables, and what the sentence must hold.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const CASES: &[Case] = &[
    ("glance-aggregator", &[], "GLANCE_BOTS: is required"),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "")],
        "GLANCE_BOTS: is required",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "main:1;main:2")],
        "GLANCE_BOTS: entry 'main:2'",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "main:1;;demo:1")],
        "GLANCE_BOTS: entry 2 is empty",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", ":1")],
        "GLANCE_BOTS: entry ':1'",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "main:0")],
        "GLANCE_BOTS: entry 'main:0'",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "my.bot:1")],
        "GLANCE_BOTS: entry 'my.bot:1'",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "main:1"), ("GLANCE_HEALTH_TIMEOUT", "soon")],
        "GLANCE_HEALTH_TIMEOUT: entry 'soon'",
    ),
    (
        "glance-aggregator",
        &[
            ("GLANCE_BOTS", "main:1"),
            ("GLANCE_HEALTH_TIMEOUT", "30;demo:9"),
        ],
        "GLANCE_HEALTH_TIMEOUT: entry 'demo'",
    ),
    (
        "glance-aggregator",
        &[("GLANCE_BOTS", "main:1"), ("GLANCE_NATS_URL", "nats://")],
        "GLANCE_NATS_URL: is no address",
    ),
    (
        "glance-web",
        &[("GLANCE_METRICS_ADDRESS", "9464")],
        "GLANCE_METRICS_ADDRESS: entry '9464'",
    ),
    (
        "glance-web",
        &[("GLANCE_PORT", "http")],
        "GLANCE_PORT: entry 'http'",
    ),
    (
        "glance-bridge",
        &[("GLANCE_BRIDGE_PORT", "99999")],
        "GLANCE_BRIDGE_PORT: entry '99999'",
    ),
    (
        "glance",
        &[("GLANCE_BOTS", "main")],
        "GLANCE_BOTS: entry 'main'",
    ),
    (
        "glance",
        &[("GLANCE_BOTS", "main:1"), ("GLANCE_PORT", "x")],
        "GLANCE_PORT: entry 'x'",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_is_named_in_one_sentence() {
    for (name, variables, wanted) in CASES {
        let program = variables
            .iter()
            .fold(Process::of(name), |program, (variable, value)| {
                program.env(variable, value)
            });
        check(program.start(), wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_in_a_file() {
    let process = Process::of("glance-aggregator")
        .dot_env("# of the original\nGLANCE_BOTS=main:360;demo:-1;\n")
        .start();
    check(process, "GLANCE_BOTS: entry 'demo:-1'").await;
}

async fn check(mut process: Process, wanted: &str) {
    let status = process.wait_exit(LIMIT).await;
    let output = process.output();
    assert_eq!(exit_code(status), 2, "{wanted}: {output}");
    assert!(output.contains(wanted), "{wanted}: {output}");
    assert_eq!(output.trim().lines().count(), 1, "{wanted}: {output}");
}
