// Who is the client, and how many connections may he have? With a container of its own as a client, and as a proxy in front.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";

import { Client, compose, eventually, published, up } from "./compose.js";

const CONNECTIONS_MAX = 20;

/** @type {Client} */
let client;
before(async () => {
  await up();
  client = await Client.start();
});
after(() => client?.leave());

/** Asks from the client's container with a wrong passphrase, so that the bridge tells who that was. */
async function ask(forwarded) {
  const asked = client.run("wget", "-q", "-O", "-", "--header", `X-Forwarded-For: ${forwarded}`, "--header", "Authorization: wrong",
    "--post-data", "", "http://balancer:8080/api/status/main/0/3");
  await assert.rejects(asked, /401/);
}

const logs = () => compose("logs", "--no-color", "bridge");

test("the services know the client's address, whatever the client says", async () => {
  await ask("203.0.113.9");
  await eventually("the bridge tells who was refused", async () => (await logs()).includes(client.address));
  assert.doesNotMatch(await logs(), /203\.0\.113\.9/);
});

test("a proxy that GLANCE_FRONT_PROXIES names is believed", async () => {
  process.env.GLANCE_FRONT_PROXIES = `192.0.2.0/24 ${client.address}`;
  process.env.GLANCE_BALANCER_CLIENT_CONNECTIONS_MAX = String(CONNECTIONS_MAX);
  await up();
  // It has to be the address that the proxy adds; what stands before it, a client says about itself.
  await ask("203.0.113.9, 203.0.113.10");
  await eventually("the bridge tells who was refused", async () => (await logs()).includes("203.0.113.10"));
  assert.doesNotMatch(await logs(), /203\.0\.113\.9/);
});

test("one address has so many connections at a time, and the next one is refused", async () => {
  const [host, port] = (await published("balancer", 8080)).split(":");
  const sockets = [];
  /** Opens a connection, asks, and tells whether there was an answer. */
  const open = async () => {
    const socket = connect({ host, port: Number(port) });
    // Also a reset, which is no more than another word for no.
    socket.on("error", () => {});
    sockets.push(socket);
    socket.write("GET /plain HTTP/1.1\r\nHost: status\r\n\r\n");
    const answer = await new Promise((resolve) => {
      socket.once("data", resolve);
      socket.once("close", resolve);
    });
    return String(answer).startsWith("HTTP/1.1 200 ");
  };
  try {
    for (let count = 1; count <= CONNECTIONS_MAX; count += 1) assert.ok(await open(), `connection ${count}`);
    assert.equal(await open(), false, "one too many");
    // Nobody else is refused: the proxy in front may have any number.
    const page = await client.run("wget", "-q", "-O", "-", "http://balancer:8080/plain");
    assert.match(page, /main/);
    sockets[0].destroy();
    await eventually("there is a place again", open);
  } finally {
    sockets.forEach((socket) => socket.destroy());
  }
});
