// Docker Compose, and viewers, for compose.test.js.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs `docker` and returns what it printed. */
export async function docker(...words) {
  const { stdout } = await run("docker", words, { timeout: 120_000, maxBuffer: 16 * 1024 * 1024 });
  return stdout.trim();
}

/** Runs `docker compose` for the project of this run, which the environment names. */
export const compose = (...words) => docker("compose", ...words);

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

  constructor(host) {
    this.host = host;
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(`ws://${this.host}/api/feed`);
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
