/** What the browser tests share: a `glance` process, a Chromium, and a way to wait. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

/** How long anything may take on a busy machine, in milliseconds. */
export const LIMIT = 30_000;

/** Chromium asks hosts of its own in the background; here it must not. */
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** @returns {Promise<import("playwright-core").Browser>} */
export function launchBrowser() {
  const executablePath = process.env.GLANCE_TEST_CHROMIUM || "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: CHROMIUM_FLAGS });
}

/** A `glance` with a broker of its own, which can be killed and started again on the same data. */
export class Glance {
  /** @param {Record<string, string>} settings */
  static async start(settings = {}) {
    const glance = new Glance();
    glance.folder = await mkdtemp(join(tmpdir(), "glance-browser-"));
    glance.settings = settings;
    glance.port = "0";
    await glance.launch();
    return glance;
  }

  async launch() {
    const programs = resolve(process.env.GLANCE_BIN_DIR ?? "target/debug");
    this.child = spawn(`${programs}/glance`, [], {
      cwd: this.folder,
      env: {
        PATH: process.env.PATH,
        GLANCE_NATS_SERVER: process.env.GLANCE_NATS_SERVER ?? "nats-server",
        GLANCE_BOTS: "main:40;demo:1",
        GLANCE_HOST: "127.0.0.1",
        GLANCE_PORT: this.port,
        ...this.settings,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let log = "";
    this.child.stderr.on("data", (text) => (log = (log + text).slice(-20_000)));
    this.exited = once(this.child, "close");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), LIMIT);
    for await (const line of createInterface({ input: this.child.stdout })) {
      const page = /page: (http:\S+:(\d+)\/)/.exec(line);
      if (page) [, this.url, this.port] = page;
      const broker = /broker: (\S+)/.exec(line);
      if (broker) this.broker = broker[1];
      const curl = /(curl -X POST .*)/.exec(line);
      if (curl) {
        this.curl = curl[1];
        break;
      }
    }
    clearTimeout(timer);
    // What it prints later must not fill the pipe.
    this.child.stdout.resume();
    if (!this.curl) {
      await this.end("SIGKILL");
      throw new Error(`glance did not start:\n${log}`);
    }
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal) {
    this.child.kill(signal);
    await this.exited;
  }

  /** Ends it and removes its data. */
  async remove() {
    await this.end("SIGTERM");
    await rm(this.folder, { recursive: true, force: true });
  }

  /** @param {string} path */
  async post(path) {
    const response = await fetch(new URL(path, this.url), { method: "POST" });
    return response.status;
  }

  /**
   * Reports many shards in one request.
   * @param {object} report
   */
  async report(report) {
    const response = await fetch(new URL("api/report", this.url), { method: "POST", body: JSON.stringify(report) });
    if (!response.ok) throw new Error(await response.text());
  }

  /**
   * Reports a state for each shard of a cluster.
   * @param {string} cluster
   * @param {string} states one digit a shard
   * @param {(id: number) => object} [details]
   */
  async reportAll(cluster, states, details = () => ({})) {
    const shards = Array.from(states, (state, id) => ({ id, state: Number(state), ...details(id) }));
    await this.report({ cluster, shards });
  }

  /**
   * Sets a notice, or takes it back.
   * @param {string} path
   * @param {object | null} notice
   */
  async notice(path, notice) {
    const method = notice ? "PUT" : "DELETE";
    const response = await fetch(new URL(path, this.url), { method, body: notice ? JSON.stringify(notice) : undefined });
    if (!response.ok) throw new Error(await response.text());
  }
}

/**
 * A page, with whatever goes wrong in it.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function visit(browser, url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await page.goto(url);
  await page.locator("body.has-picture").waitFor();
  return { page, problems, context };
}

/** @param {import("playwright-core").Page} page @param {string | RegExp} text */
export async function waitForVerdict(page, text) {
  await page.locator("#verdict-text").filter({ hasText: text }).waitFor();
}

/**
 * The cell of a shard once it shows a state.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} cluster
 * @param {number} shard
 * @param {number} state
 */
export async function waitForState(page, cluster, shard, state) {
  const cell = page.locator(`[data-cluster="${cluster}"] [data-shard="${shard}"][data-state="${state}"]`);
  await cell.waitFor({ state: "attached", timeout: LIMIT });
}
