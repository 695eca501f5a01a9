// HTTPS and a file of passphrases: the overlays tls.yaml and passphrases.yaml, laid over what runs by lines as in .env.
// run.sh made two certificates; NODE_EXTRA_CA_CERTS names both, so that `fetch` and `WebSocket` check them.

import assert from "node:assert/strict";
import { copyFile, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { connect } from "node:tls";
import { once } from "node:events";
import { before, test } from "node:test";

import { cluster, compose, containers, eventually, inspect, published, report, up, Viewer } from "./compose.js";

const WORK = process.env.GLANCE_TEST_WORK;
const SHARED = "a passphrase with blanks";
const OLD = "old-Cm9fTBpA0wUZJxkYyQ3v";
const NEW = "new-7hQ0s2nqkV8eXbLr1dTz";

let plain;
let secure;

/** In the place of the old file, as editors do. */
async function replace(from, to) {
  await copyFile(from, `${to}.new`);
  await rename(`${to}.new`, to);
}

async function passphrases(...lines) {
  await writeFile(join(WORK, "lines"), `# who may report\n${lines.join("\n")}\n`);
  await replace(join(WORK, "lines"), join(WORK, "passphrases/passphrases"));
}

async function subject() {
  const { hostname, port } = new URL(secure);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "secureConnect");
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
}

/** The container of a service is the one that it was, and was not started again. */
async function same(service, { Id, State }) {
  const now = await inspect((await containers(service))[0]);
  assert.equal(now.Id, Id);
  assert.equal(now.State.StartedAt, State.StartedAt);
}

before(async () => {
  await replace(join(WORK, "first.pem"), join(WORK, "certificates/glance.pem"));
  await passphrases(`* ${SHARED}`, `main ${OLD}`);
  const overlays = ["tls", "passphrases"].map((name) => resolve(import.meta.dirname, `../../deploy/compose/${name}.yaml`));
  Object.assign(process.env, {
    COMPOSE_FILE: [process.env.COMPOSE_FILE, ...overlays].join(":"),
    GLANCE_TLS_DIR: join(WORK, "certificates"),
    GLANCE_TLS_PORT: "0",
    GLANCE_PASSPHRASES_DIR: join(WORK, "passphrases"),
    GLANCE_PASSPHRASE: "",
  });
  await up();
  plain = await published("balancer", 8080);
  secure = `https://${await published("balancer", 8443)}`;
});

test("the page and reports are served by HTTPS, for browsers that remember it", async () => {
  const page = await fetch(`${secure}/`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("Strict-Transport-Security"), /max-age=15552000/);
  assert.equal(await subject(), "first");
});

test("requests to the plain port are redirected, with their path and method", async () => {
  for (const [method, path] of [["GET", "/plain?x=1"], ["POST", "/api/status/main/3/3"]]) {
    const answer = await fetch(`http://${plain}${path}`, { method, redirect: "manual" });
    assert.equal(answer.status, 308);
    assert.equal(answer.headers.get("Location"), `https://${plain}${path}`);
    assert.equal(answer.headers.get("Strict-Transport-Security"), null);
  }
});

test("each passphrase of the file is good for its clusters, and the feed tells what came", async () => {
  const viewer = new Viewer(secure);
  try {
    await eventually("the viewer is greeted", () => viewer.open);
    assert.equal((await report(secure, 13, 3, OLD)).status, 204);
    await eventually("the feed tells it", () => viewer.saw(13, 3));
    assert.equal((await cluster(secure, "main")).states[13], "3");
    assert.equal((await report(secure, 13, 4, SHARED)).status, 204);
    const demo = (passphrase) =>
      fetch(`${secure}/api/status/demo/0/3`, { method: "POST", headers: { Authorization: passphrase } });
    assert.equal((await demo(SHARED)).status, 204);
    assert.equal((await demo(OLD)).status, 401);
    assert.equal((await report(secure, 13, 3, NEW)).status, 401);
  } finally {
    viewer.leave();
  }
});

test("SIGHUP lets the bridge read a changed file, and a wrong file changes nothing", async () => {
  const bridge = await inspect((await containers("bridge"))[0]);
  const says = async (text) => (await compose("logs", "--no-color", "bridge")).includes(text);
  await passphrases(`main ${NEW}`, `main ${OLD}`);
  await compose("kill", "--signal", "HUP", "bridge");
  await eventually("the new one is taken", async () => (await report(secure, 13, 3, NEW)).status === 204);
  assert.equal((await report(secure, 13, 3, OLD)).status, 204);
  await passphrases(`main ${NEW}`);
  await compose("kill", "--signal", "HUP", "bridge");
  await eventually("the old one is refused", async () => (await report(secure, 13, 3, OLD)).status === 401);
  await passphrases("main");
  await compose("kill", "--signal", "HUP", "bridge");
  await eventually("it tells what is wrong", () => says("line 2 has no scope or no passphrase"));
  assert.equal((await report(secure, 13, 3, NEW)).status, 204);
  assert.ok(!(await says(NEW)) && !(await says(OLD)), "no passphrase is in the log");
  await same("bridge", bridge);
});

test("SIGHUP lets the balancer read a new certificate", async () => {
  const balancer = await inspect((await containers("balancer"))[0]);
  await replace(join(WORK, "second.pem"), join(WORK, "certificates/glance.pem"));
  await compose("kill", "--signal", "HUP", "balancer");
  await eventually("the new one is shown", async () => (await subject()) === "second");
  // A new worker has to ask for the names of the services first.
  await eventually("the page is served", async () => (await fetch(`${secure}/plain`)).status === 200, { seconds: 5 });
  await same("balancer", balancer);
});
