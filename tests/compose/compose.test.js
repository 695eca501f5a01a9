// compose.yaml as an operator runs it: started by run.sh, tried from outside. The tests build on each other, in this order.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { connect } from "@nats-io/transport-node";

import { cluster, compose, containers, docker, eventually, inspect, metric, published, report, scale, SERVICES, up, Viewer } from "./compose.js";

const PASSPHRASE = process.env.GLANCE_PASSPHRASE;
const AGGREGATORS = ["aggregator-a", "aggregator-b"];
const authorization = { Authorization: PASSPHRASE };

let base = `http://${await published("balancer", 8080)}`;
const viewers = [];
after(() => viewers.forEach((viewer) => viewer.leave()));

/** Comes with `count` viewers, and waits until each has its table. */
async function watch(count) {
  const came = Array.from({ length: count }, () => new Viewer(base));
  viewers.push(...came);
  await eventually("all viewers are greeted", () => came.every((viewer) => viewer.open));
  return came;
}

/** The aggregator that leads. */
async function leader() {
  for (const service of AGGREGATORS) {
    const [container] = await containers(service);
    if (container && (await metric(container, "glance_aggregator_leader")) === 1) return { service, container };
  }
  return undefined;
}

test("a report to the public port reaches the page, the JSON and a feed", async () => {
  await eventually("the balancer leads to the page", async () => (await fetch(`${base}/`)).ok);
  const [viewer] = await watch(1);
  assert.equal((await report(base, 3, 3)).status, 204);
  await eventually("the feed tells it", () => viewer.saw(3, 3));
  assert.equal((await cluster(base, "main")).states[3], "3");
  assert.match(await (await fetch(`${base}/`)).text(), /<title>1 of 17 shards/);
});

test("bots need the passphrase, and the other endpoints of bots are on the public port too", async () => {
  const without = await fetch(`${base}/api/status/main/4/3`, { method: "POST" });
  assert.equal(without.status, 401);
  const health = await fetch(`${base}/api/health/main/3`, { method: "POST", headers: authorization });
  assert.equal(health.status, 204);
  const body = JSON.stringify({ cluster: "main", shards: [{ id: 5, state: "online" }] });
  const many = await fetch(`${base}/api/report`, { method: "POST", headers: authorization, body });
  assert.deepEqual(await many.json(), { accepted: 1, rejected: [] });
  for (const [path, method] of [["announcement", "PUT"], ["maintenance/demo", "PUT"], ["announcement", "DELETE"], ["maintenance/demo", "DELETE"]]) {
    const notice = await fetch(`${base}/api/${path}`, {
      method,
      headers: authorization,
      body: method === "PUT" ? JSON.stringify({ text: "New hosts" }) : undefined,
    });
    assert.ok(notice.ok, `${method} ${path}: ${notice.status}`);
  }
});

test("metrics and the broker's monitoring are not reached through the public port", async () => {
  for (const path of ["/metrics", "/varz", "/healthz?js-server-only=true"]) {
    const text = await (await fetch(`${base}${path}`)).text();
    assert.doesNotMatch(text, /glance_|server_id/);
  }
});

test("each container runs as nobody, with nothing to write to and nothing to spare", async () => {
  for (const service of SERVICES) {
    const [container] = await containers(service);
    const { Config, HostConfig } = await inspect(container);
    assert.equal(Config.User, "65532:65532", service);
    assert.equal(HostConfig.ReadonlyRootfs, true, service);
    assert.deepEqual(HostConfig.CapDrop, ["ALL"], service);
    assert.equal(HostConfig.CapAdd, null, service);
    assert.ok(HostConfig.SecurityOpt.some((option) => option.startsWith("no-new-privileges")), service);
    assert.ok(HostConfig.Memory > 0 && HostConfig.PidsLimit > 0, service);
    assert.equal(HostConfig.RestartPolicy.Name, "always", service);
    assert.equal(HostConfig.LogConfig.Config["max-size"], "10m", service);
    const uids = (await docker("top", container, "-eo", "uid,pid")).split("\n").slice(1);
    assert.ok(uids.length > 0 && uids.every((line) => line.trim().startsWith("65532 ")), `${service}: ${uids}`);
  }
  // Not only by Docker's word.
  await assert.rejects(compose("exec", "-T", "nats", "touch", "/here"), /Read-only file system/);
  await assert.rejects(compose("exec", "-T", "balancer", "touch", "/tmp/here"), /Read-only file system/);
});

test("what only services may reach has no way out, and no way in but the balancer's", async () => {
  for (const network of ["inside", "broker"]) {
    const [facts] = JSON.parse(await docker("network", "inspect", `${process.env.COMPOSE_PROJECT_NAME}_${network}`));
    assert.equal(facts.Internal, true, network);
  }
  const networks = async (service) => {
    const { NetworkSettings } = await inspect((await containers(service))[0]);
    return Object.keys(NetworkSettings.Networks).map((name) => name.split("_").pop()).sort();
  };
  assert.deepEqual(await networks("balancer"), ["inside", "public"]);
  assert.deepEqual(await networks("web"), ["broker", "inside"]);
  assert.deepEqual(await networks("aggregator-a"), ["broker"]);
});

test("the broker refuses who has no password or a wrong one", async () => {
  const servers = await published("nats", 4222);
  const attempts = [{}, { user: "web", pass: "wrong" }, { user: "nobody", pass: process.env.GLANCE_NATS_WEB_PASSWORD }];
  for (const login of attempts) {
    await assert.rejects(connect({ servers, ...login, reconnect: false, maxReconnectAttempts: 0 }), /authorization/i);
  }
});

test("a bot reports over NATS through the published port, for its own cluster alone", async () => {
  const servers = await published("nats", 4222);
  const bot = await connect({ servers, user: "main", pass: process.env.GLANCE_NATS_BOT_MAIN_PASSWORD });
  const stored = await bot.request("glance.main.9.state", "online");
  assert.equal(stored.json().stream, "GLANCE_STATES");
  await eventually("it is shown", async () => (await cluster(base, "main")).states[9] === "3");
  await assert.rejects(bot.request("glance.demo.0.state", "online", { timeout: 1000 }));
  assert.equal((await cluster(base, "demo")).states, "0");
  await bot.close();
});

test("three web replicas share the viewers, behind the same address", async () => {
  await scale(3);
  const replicas = await containers("web");
  assert.equal(replicas.length, 3);
  await eventually("the balancer knows all of them", async () => {
    viewers.splice(0).forEach((viewer) => viewer.leave());
    await watch(12);
    const counts = await Promise.all(replicas.map((replica) => metric(replica, "glance_web_viewers")));
    return counts.every((count) => count >= 2);
  });
  assert.equal((await report(base, 6, 3)).status, 204);
  await eventually("all of them see a report", () => viewers.every((viewer) => viewer.saw(6, 3)));
});

test("viewers of a replica that is stopped come back to the others", async () => {
  const [first, ...others] = await containers("web");
  await docker("stop", first);
  await eventually("all are back", () => viewers.every((viewer) => viewer.open));
  const closed = viewers.flatMap((viewer) => viewer.closed);
  assert.ok(closed.length > 0, "nobody was at the replica that was stopped");
  assert.ok(closed.includes(1001), `closed with ${closed}`);
  await eventually("the others have all", async () => {
    const counts = await Promise.all(others.map((replica) => metric(replica, "glance_web_viewers")));
    return counts.reduce((sum, count) => sum + count, 0) === viewers.length;
  });
  // Nobody who comes now is sent to the one that is gone.
  await watch(6);
  for (let visit = 0; visit < 20; visit += 1) {
    assert.equal((await fetch(`${base}/plain`)).status, 200);
  }
});

test("when the leading aggregator is killed, the other one leads and reports reach viewers", async () => {
  const before = await eventually("one leads", leader);
  await docker("kill", before.container);
  assert.equal((await report(base, 7, 4)).status, 204, "bots are served meanwhile");
  const now = await eventually("the other one leads", async () => {
    const one = await leader();
    return one?.service !== before.service && one;
  });
  assert.notEqual(now.service, before.service);
  await eventually("the report is shown", () => viewers.every((viewer) => viewer.saw(7, 4)));
  await compose("up", "--detach", "--no-build", "--no-recreate", "--no-deps", "--wait", "--wait-timeout", "120", before.service);
});

test("a restart of the whole forgets nothing", async () => {
  const before = await cluster(base, "main");
  viewers.splice(0).forEach((viewer) => viewer.leave());
  await compose("down", "--timeout", "15");
  await up();
  base = `http://${await published("balancer", 8080)}`;
  const now = await eventually("the table is there again", async () => {
    const table = await cluster(base, "main");
    return table?.states === before.states && table;
  });
  assert.deepEqual(now.since, before.since);
});
