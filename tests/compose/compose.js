// Docker Compose, what an installation says and takes, and viewers, for the tests beside this file.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

const LIMITS = { timeout: 240_000, maxBuffer: 16 * 1024 * 1024 };

export const SERVICES = ["balancer", "web", "bridge", "aggregator-a", "aggregator-b", "nats"];

/** Runs `docker` and returns what it printed. */
export async function docker(...words) {
  const { stdout } = await run("docker", words, LIMITS);
  return stdout.trim();
}

/** Runs `docker compose` for the project of this run, which the environment names. */
export const compose = (...words) => docker("compose", ...words);

/** Starts what does not run, and anew what was changed. */
export const up = () => compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180");

/** Runs commands for a shell in a folder. */
export const shell = (commands, folder) => run("bash", ["-euc", commands], { ...LIMITS, cwd: folder });

/** Commands as the guide has them: the block after a line of a page in docs/. */
export async function documented(page, line) {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  const block = text.split(`\n${line}\n`)[1]?.match(/```sh\n(.*?)```/s);
  if (!block) throw new Error(`docs/${page} has no commands after: ${line}`);
  return block[1];
}

/** Brings the number of web replicas to `count`, and waits until all are healthy. */
export const scale = (count) =>
  compose("up", "--detach", "--no-build", "--no-recreate", "--wait", "--wait-timeout", "120", "--scale", `web=${count}`);

/** The containers of a service that run. */
export async function containers(service) {
  const ids = await compose("ps", "--quiet", "--status", "running", service);
  return ids === "" ? [] : ids.split("\n");
}

export async function inspect(container) {
  return JSON.parse(await docker("inspect", container))[0];
}

/** The address of a container in one of the project's networks. */
export async function addressIn(network, container) {
  const { NetworkSettings } = await inspect(container);
  const name = `${process.env.COMPOSE_PROJECT_NAME}_${network}`;
  return NetworkSettings.Networks[name].IPAddress;
}

/** Where a port of a service is published: `127.0.0.1:49153`. */
export const published = (service, port) => compose("port", service, String(port));

/** A value of the metrics of a container: the sum over all labels; asked from within, as nobody outside can. */
export async function metric(container, name) {
  const address = await addressIn("broker", container);
  const text = await compose("exec", "-T", "nats", "wget", "-q", "-O", "-", `http://${address}:9464/metrics`);
  const values = text.split("\n").filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  if (values.length === 0) throw new Error(`no metric ${name} in: ${text}`);
  return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** Somebody in the balancer's network, with an address of its own. */
export class Client {
  static async start() {
    const client = new Client();
    client.name = `${process.env.COMPOSE_PROJECT_NAME}-client`;
    const image = (await inspect((await containers("balancer"))[0])).Config.Image;
    const network = `${process.env.COMPOSE_PROJECT_NAME}_public`;
    await docker("run", "--rm", "--detach", "--name", client.name, "--network", network, "--entrypoint", "sleep", image, "300");
    client.address = await addressIn("public", client.name);
    return client;
  }

  /** Runs a command. */
  run(...words) {
    return docker("exec", this.name, ...words);
  }

  leave() {
    return docker("rm", "--force", this.name);
  }
}

/** Reports a state; `base` is such as http://127.0.0.1:3000. */
export const report = (base, shard, state, passphrase = process.env.GLANCE_PASSPHRASE) =>
  fetch(`${base}/api/status/main/${shard}/${state}`, { method: "POST", headers: { Authorization: passphrase } });

export const snapshot = async (base) => (await fetch(`${base}/api/snapshot`)).json();

/** A cluster of the snapshot. */
export const cluster = async (base, name) => (await snapshot(base)).clusters.find((one) => one.name === name);

/** Waits until `check` gives something, and returns that; what it throws last is told when the time is over. */
export async function eventually(what, check, { seconds = 30 } = {}) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    try {
      const value = await check();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`waited ${seconds} s in vain: ${what}`, { cause: last });
}

/** Somebody who looks at the page: keeps a feed open, and comes back when it is closed. */
export class Viewer {
  /** The codes with which feeds were closed. */
  closed = [];
  hellos = 0;
  frames = [];
  #socket;
  #left = false;

  /** @param {string} base such as http://127.0.0.1:3000 */
  constructor(base) {
    this.feed = `${base.replace(/^http/, "ws")}/api/feed`;
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(this.feed);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.op === "hello") this.hellos += 1;
      else this.frames.push(frame);
    };
    // A refused handshake may tell only the first of the two.
    socket.onerror = () => this.#again(socket, "refused");
    socket.onclose = ({ code }) => this.#again(socket, code);
  }

  #again(socket, code) {
    if (this.#left || socket !== this.#socket) return;
    this.#socket = undefined;
    this.closed.push(code);
    setTimeout(() => !this.#left && this.#connect(), 300);
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN && this.hellos > this.closed.filter((code) => code !== "refused").length;
  }

  saw(shard, state) {
    return this.frames.some(({ op, payload }) => op === "state_update" && payload.shard === shard && payload.state === state);
  }

  leave() {
    this.#left = true;
    this.#socket?.close();
  }
}
