// What an operator does to a deployment that runs, and what happens to it without him. After compose.test.js, in this order.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { cluster, compose, containers, docker, documented, eventually, inspect, published, report, SERVICES, shell, snapshot, up, Viewer } from "./compose.js";

const UPGRADED = ["web", "bridge", "aggregator-a", "aggregator-b"];
const BALANCER = join(process.env.GLANCE_TEST_WORK, "balancer/haproxy.cfg");

let base;
/** An image with a shell. */
let toolbox;
/** The published port may be another one after a start. */
const find = async () => (base = `http://${await published("balancer", 8080)}`);

const statesOf = async (name) => (await cluster(base, name)).states;

/** All containers of services, as one list. */
const all = async (services) => (await Promise.all(services.map(containers))).flat();

/** Ends the process of a container as the kernel does when memory runs out: Docker knows nothing of it. */
async function killProcess(container) {
  const { State } = await inspect(container);
  await docker("run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "sh", toolbox, "-c", `kill -9 ${State.Pid}`);
}

test("the balancer takes a new haproxy.cfg on SIGHUP, and keeps the old one when the new one is wrong", async () => {
  await up();
  await find();
  const [container] = await containers("balancer");
  const before = await inspect(container);
  toolbox = before.Config.Image;
  const text = await readFile(BALANCER, "utf8");
  // As editors and git do: a new file in the place of the old one.
  const replace = async (content) => {
    await writeFile(`${BALANCER}.new`, content);
    await rename(`${BALANCER}.new`, BALANCER);
    await compose("kill", "--signal", "HUP", "balancer");
  };
  const header = async () => (await fetch(`${base}/plain`)).headers.get("X-Changed");
  assert.equal(await header(), null);
  const changed = text.replace("frontend public\n", "frontend public\n  http-after-response set-header X-Changed yes\n");
  await replace(changed);
  await eventually("the new rule holds", async () => (await header()) === "yes");
  await replace(`${changed}\nnonsense\n`);
  await eventually("it tells what is wrong", async () => /nonsense/.test(await compose("logs", "--no-color", "balancer")));
  assert.equal(await header(), "yes");
  await replace(text);
  await eventually("the rule is gone", async () => (await header()) === null);
  const now = await inspect(container);
  assert.equal(now.State.StartedAt, before.State.StartedAt);
  assert.equal(now.RestartCount, 0);
});

test("whatever ends without being told to is started again, also after a SIGHUP", async () => {
  const list = await all(SERVICES);
  assert.equal(list.length, SERVICES.length + 1, "two web replicas");
  await compose("kill", "--signal", "HUP", "bridge");
  assert.equal((await report(base, 2, 3)).status, 204);
  await eventually("it is shown", async () => (await statesOf("main"))[2] === "3");
  const before = await statesOf("main");
  for (const container of list) await killProcess(container);
  for (const container of list) {
    await eventually("it is healthy again", async () => {
      const { Name, RestartCount, State } = await inspect(container);
      if (RestartCount === 1 && State.Running && State.Health.Status === "healthy") return true;
      throw new Error(`${Name}: started ${RestartCount} times, ${State.Status}, ${State.Health?.Status}`);
    }, { seconds: 90 });
  }
  await find();
  await eventually("the table is shown", async () => (await statesOf("main")) === before);
  assert.equal((await report(base, 1, 4)).status, 204);
  await eventually("reports are shown", async () => (await statesOf("main"))[1] === "4");
});

test("a container that was stopped stays so, until it is started", async () => {
  await compose("stop", "bridge");
  const headers = await eventually("the balancer says so", async () => {
    const answer = await report(base, 1, 3);
    return answer.status === 503 && answer.headers;
  });
  assert.equal(headers.get("Retry-After"), "2");
  assert.equal(headers.get("Content-Type"), "application/json");
  assert.equal(headers.get("X-Content-Type-Options"), "nosniff");
  assert.equal(headers.get("Content-Security-Policy"), "default-src 'none'");
  const page = await fetch(`${base}/`);
  assert.match(page.headers.get("Content-Security-Policy"), /script-src/, "the page's own");
  assert.deepEqual(await containers("bridge"), []);
  await compose("start", "bridge");
  await eventually("reports are taken", async () => (await report(base, 1, 3)).status === 204);
});

test("upgrade.sh replaces all that is ours, and clients do not notice", async () => {
  // The next version: another image, as a build makes it.
  const next = process.env.GLANCE_TEST_NEXT_IMAGE;
  await shell(`printf 'FROM ${process.env.GLANCE_IMAGE}\\nLABEL glance.next=1\\n' | docker build -q -t ${next} -`);
  const old = await all(UPGRADED);
  const rest = await all(["balancer", "nats"]);
  const viewer = new Viewer(base);
  const answers = [];
  let done = false;
  const client = async (ask) => {
    while (!done) {
      const began = Date.now();
      const { status, headers } = await ask();
      if (status !== 200 && status !== 204) answers.push({ status, again: headers.get("Retry-After"), took: Date.now() - began });
      answers.count = (answers.count ?? 0) + 1;
      await new Promise((wait) => setTimeout(wait, 100));
    }
  };
  // What ends without an answer, such as a connection that is cut, ends the test.
  const clients = Promise.all([
    client(() => fetch(`${base}/plain`, { signal: AbortSignal.timeout(10_000) })),
    client(() => report(base, 5, 3)),
  ]);
  process.env.GLANCE_IMAGE = next;
  try {
    const script = resolve(import.meta.dirname, "../../deploy/compose/upgrade.sh");
    await Promise.race([promisify(execFile)(script, ["--no-build"], { timeout: 240_000 }), clients]);
  } finally {
    done = true;
    await clients;
    viewer.leave();
  }
  assert.ok(answers.count > 200, `${answers.count} answers`);
  assert.ok(answers.length <= 1 && answers.every(({ status, again }) => status === 503 && again), JSON.stringify(answers));
  const now = await all(UPGRADED);
  assert.equal(now.length, old.length);
  assert.deepEqual(now.filter((container) => old.includes(container)), []);
  for (const container of now) assert.equal((await inspect(container)).Config.Image, next);
  assert.deepEqual(await all(["balancer", "nats"]), rest);
  assert.ok(viewer.closed.every((code) => code === 1001), `viewers were closed with ${viewer.closed}`);
});

test("what docs/backup.md says brings back all that was kept", async () => {
  const folder = await mkdtemp(join(tmpdir(), "glance-backup-"));
  const announce = (text) =>
    fetch(`${base}/api/announcement`, { method: "PUT", headers: { Authorization: process.env.GLANCE_PASSPHRASE }, body: JSON.stringify({ text }) });
  try {
    assert.ok((await announce("Kept")).ok);
    assert.equal((await report(base, 11, 3)).status, 204);
    const before = await eventually("both are shown", async () => {
      const table = await snapshot(base);
      return JSON.stringify(table).includes("Kept") && table.clusters.find(({ name }) => name === "main").states[11] === "3" && table;
    });
    await shell(await documented("backup.md", "With Compose:"), folder);
    // Said after the backup, and so lost.
    await eventually("the broker is back", async () => (await report(base, 11, 2)).status === 204, { seconds: 60 });
    await eventually("it is shown", async () => (await statesOf("main"))[11] === "2");
    await shell(await documented("backup.md", "And back, into an empty volume:"), folder);
    await find();
    const now = await eventually("a table is there", () => snapshot(base));
    const [was, is] = [before, now].map(({ clusters }) => clusters.find(({ name }) => name === "main"));
    assert.equal(is.states, was.states);
    assert.deepEqual(is.since, was.since);
    assert.match(JSON.stringify(now), /Kept/);
    assert.equal((await report(base, 11, 4)).status, 204);
    await eventually("reports are shown", async () => (await statesOf("main"))[11] === "4");
  } finally {
    await rm(folder, { recursive: true });
  }
});
