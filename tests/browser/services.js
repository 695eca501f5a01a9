/** The broker and the services as processes of their own, so that each can be paused, killed and replaced. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { connect } from "@nats-io/transport-node";

import { LIMIT } from "./support.js";

const CONFIGURATION = resolve(import.meta.dirname, "../../nats.conf");
const PROGRAMS = resolve(process.env.GLANCE_BIN_DIR ?? "target/debug");

/** One process, with the end of its log for whoever has to find out what went wrong. */
class Service {
  /**
   * @param {string} program
   * @param {string[]} flags
   * @param {Record<string, string>} settings
   * @param {string} folder
   */
  constructor(program, flags, settings, folder) {
    this.log = "";
    this.child = spawn(program, flags, { cwd: folder, env: { PATH: process.env.PATH, ...settings }, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (text) => (this.log = (this.log + text).slice(-20_000)));
    }
    this.exited = once(this.child, "close");
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.child.kill(signal);
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal = "SIGTERM") {
    // A process that is paused takes no other signal.
    this.child.kill("SIGCONT");
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), LIMIT);
    await this.exited;
    clearTimeout(timer);
  }
}

/** Who has a password in nats.conf. */
const USERS = ["aggregator", "bridge", "web", "operator", "system"];

export class Services {
  /**
   * A broker, an aggregator and a web service.
   * @param {Record<string, string>} settings
   * @param {{ accounts?: boolean }} [options] accounts: with those of nats.conf. Otherwise one connection speaks for all bots.
   */
  static async start(settings = {}, { accounts = false } = {}) {
    const services = new Services();
    services.accounts = accounts;
    services.folder = await mkdtemp(join(tmpdir(), "glance-services-"));
    try {
      await services.launch(settings);
    } catch (error) {
      await services.remove();
      throw error;
    }
    return services;
  }

  /** @param {Record<string, string>} settings */
  async launch(settings) {
    const [brokerPort, webPort] = await findPorts(2);
    this.broker = `nats://127.0.0.1:${brokerPort}`;
    this.url = `http://127.0.0.1:${webPort}/`;
    this.settings = {
      GLANCE_NATS_URL: this.broker,
      GLANCE_HOST: "127.0.0.1",
      GLANCE_PORT: String(webPort),
      // As it is now, and not as it was when the program was built.
      GLANCE_PAGE_DIR: resolve(import.meta.dirname, "../../web"),
      ...settings,
    };
    const [withoutAccounts = ""] = (await readFile(CONFIGURATION, "utf8")).split("\n# ---- Who may do what.");
    await writeFile(join(this.folder, "nats.conf"), withoutAccounts);
    const configuration = this.accounts ? CONFIGURATION : join(this.folder, "nats.conf");
    const flags = ["--config", configuration, "--addr", "127.0.0.1", "--port", String(brokerPort)];
    const variables = Object.fromEntries(USERS.map((user) => [`GLANCE_NATS_${user.toUpperCase()}_PASSWORD`, passwordOf(user)]));
    variables.GLANCE_NATS_STORE = this.folder;
    this.nats = new Service(process.env.GLANCE_NATS_SERVER ?? "nats-server", flags, variables, this.folder);
    const login = this.accounts ? { user: "operator", pass: passwordOf("operator") } : {};
    // An operator's, where there are accounts.
    this.connection = await until(() => connect({ servers: this.broker, ...login, maxReconnectAttempts: -1 }), () => this.nats.log);
    this.startAggregator();
    await this.startWeb();
  }

  /** @param {Record<string, string>} settings that differ from those of the start */
  startAggregator(settings = {}) {
    this.settings = { ...this.settings, ...settings };
    this.aggregator = this.program("aggregator");
  }

  /** Starts a bridge, on a port of its own. */
  async startBridge() {
    const [port] = await findPorts(1);
    this.bridge = this.program("bridge", { GLANCE_BRIDGE_HOST: "127.0.0.1", GLANCE_BRIDGE_PORT: String(port) });
    await this.ready(`http://127.0.0.1:${port}/`);
  }

  /** Starts the web service, on the same port each time, and waits until it has a table. */
  async startWeb() {
    this.web = this.program("web");
    await this.ready(this.url);
  }

  /**
   * @param {string} name
   * @param {Record<string, string>} settings that differ from those of the others
   */
  program(name, settings = {}) {
    const login = { GLANCE_NATS_USER: name, GLANCE_NATS_PASSWORD: passwordOf(name), GLANCE_NATS_API_PREFIX: name === "aggregator" ? "" : "GLANCE.API" };
    const all = { ...this.settings, ...(this.accounts ? login : {}), ...settings };
    return new Service(`${PROGRAMS}/glance-${name}`, [], all, this.folder);
  }

  /** @param {string} url */
  async ready(url) {
    await until(async () => {
      const answer = await fetch(new URL("readyz", url));
      if (!answer.ok) throw new Error(`not ready: ${answer.status}`);
    }, () => [this.web, this.bridge, this.aggregator].map((service) => service?.log).join(""));
  }

  /**
   * @param {string} cluster
   * @param {number} shard
   * @param {string} body
   */
  async report(cluster, shard, body) {
    this.connection.publish(`glance.${cluster}.${shard}.state`, body);
    await this.connection.flush();
  }

  async remove() {
    await this.connection?.close();
    for (const service of [this.web, this.bridge, this.aggregator, this.nats]) await service?.end();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** @param {string} user */
const passwordOf = (user) => `test-${user}`;

/**
 * Free ports, all found before any is used.
 * @param {number} count
 * @returns {Promise<number[]>}
 */
async function findPorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  }));
  return Promise.all(servers.map(async (server) => {
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    server.close();
    await once(server, "close");
    return port;
  }));
}

/**
 * Tries until it works.
 *
 * @template Result
 * @param {() => Promise<Result>} action
 * @param {() => string} explain the logs
 * @returns {Promise<Result>}
 */
async function until(action, explain) {
  const deadline = Date.now() + LIMIT;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${error}\n${explain()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
