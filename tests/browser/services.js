/** A broker, an aggregator and a web service as processes of their own, so that each can be paused, killed and replaced. */

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

export class Services {
  /** @param {Record<string, string>} settings */
  static async start(settings = {}) {
    const services = new Services();
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
    // Without the accounts, so that one connection speaks for all bots.
    const [configuration] = (await readFile(CONFIGURATION, "utf8")).split("\n# ---- Who may do what.");
    await writeFile(join(this.folder, "nats.conf"), configuration ?? "");
    const flags = ["--config", join(this.folder, "nats.conf"), "--addr", "127.0.0.1", "--port", String(brokerPort)];
    this.nats = new Service(process.env.GLANCE_NATS_SERVER ?? "nats-server", flags, { GLANCE_NATS_STORE: this.folder }, this.folder);
    this.bot = await until(() => connect({ servers: this.broker, maxReconnectAttempts: -1 }), () => this.nats.log);
    this.startAggregator();
    await this.startWeb();
  }

  /** @param {Record<string, string>} settings that differ from those of the start */
  startAggregator(settings = {}) {
    this.settings = { ...this.settings, ...settings };
    this.aggregator = new Service(`${PROGRAMS}/glance-aggregator`, [], this.settings, this.folder);
  }

  /** Starts the web service, on the same port each time, and waits until it has a table. */
  async startWeb() {
    this.web = new Service(`${PROGRAMS}/glance-web`, [], this.settings, this.folder);
    await until(async () => {
      const answer = await fetch(new URL("readyz", this.url));
      if (!answer.ok) throw new Error(`not ready: ${answer.status}`);
    }, () => this.web.log + this.aggregator.log);
  }

  /**
   * @param {string} cluster
   * @param {number} shard
   * @param {string} body
   */
  async report(cluster, shard, body) {
    this.bot.publish(`glance.${cluster}.${shard}.state`, body);
    await this.bot.flush();
  }

  async remove() {
    await this.bot?.close();
    for (const service of [this.web, this.aggregator, this.nats]) await service?.end();
    await rm(this.folder, { recursive: true, force: true });
  }
}

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
