import assert from "node:assert/strict";
import { test } from "node:test";

import { parseQuestion, readFragment, shardOfGuild, shardOfQuestion, writeFragment } from "../js/guild.js";

const ID = "613425648685547541";
const GUILD = { kind: "guild", guild: 613425648685547541n };

test("the shard of a server is exact on 64 bits", () => {
  assert.equal(shardOfGuild(613425648685547541n, 1056), Number((613425648685547541n >> 22n) % 1056n));
  // As a Number this ID would be rounded, and the shard would be another one.
  assert.equal(shardOfGuild(18446744073709551615n, 262_144), 262_143);
  assert.equal(shardOfGuild(4194304n * 7n - 1n, 16), 6);
  assert.equal(shardOfGuild(4194304n * 7n, 16), 7);
  assert.equal(shardOfGuild(1n, 1), 0);
});

test("an ID is found among blanks and other text", () => {
  for (const text of [
    ID, `  ${ID}\n`, `\u200b${ID}\u200b`, `ID: ${ID}`, `"${ID}"`, `my server is ${ID}, please help`, `${ID} ${ID}`,
    "ID 613 425 648 685 547 541", `https://status.example.org/x/#guild=${ID}`,
    "613 425 648 685 547 541", "613,425,648,685,547,541", "６１３４２５６４８６８５５４７５４１",
  ]) {
    assert.deepEqual(parseQuestion(text), GUILD, text);
  }
});

test("a link to a channel or a message names its server", () => {
  for (const link of [
    `https://discord.com/channels/${ID}`,
    `https://discord.com/channels/${ID}/613425648685547545`,
    `https://discord.com/channels/${ID}/613425648685547545/1051612345678901234`,
    `https://ptb.discord.com/channels/${ID}/613425648685547545/1051612345678901234`,
    `https://canary.discord.com/channels/${ID}/613425648685547545`,
    `https://discordapp.com/channels/${ID}/613425648685547545?x=1#y`,
    `discord.com/channels/${ID}/613425648685547545`,
    `discord://-/channels/${ID}/613425648685547545`,
    `look at <https://discord.com/channels/${ID}/613425648685547545> please`,
    `https://discord.com/events/${ID}/1051612345678901234`,
  ]) {
    assert.deepEqual(parseQuestion(link), GUILD, link);
  }
});

test("direct messages are on shard 0 of every bot", () => {
  for (const text of ["https://discord.com/channels/@me/1051612345678901234", "https://discord.com/channels/@me", "@me", " @ME "]) {
    const question = parseQuestion(text);
    assert.deepEqual(question, { kind: "direct" }, text);
    assert.equal(shardOfQuestion(question, 1056), 0);
  }
});

test("anything else says why", () => {
  const cases = {
    "hello": "no_number",
    "https://discord.com/channels/": "no_number",
    "https://discord.gg/discord-developers": "invite",
    "https://discord.com/invite/abc123": "invite",
    "<#613425648685547545>": "mention",
    "<@!613425648685547545>": "mention",
    "<:wave:613425648685547545>": "mention",
    "12": "too_short",
    "https://discord.com/channels/12/13": "too_short",
    "18446744073709551616": "too_long",
    "123456789012345678901234567890": "too_long",
    "613425648685547541 613425648685547545": "several",
  };
  for (const [text, why] of Object.entries(cases)) {
    assert.deepEqual(parseQuestion(text), { kind: "unclear", why }, text);
  }
  assert.deepEqual(parseQuestion(" \u200b\n"), { kind: "empty" });
  assert.equal(shardOfQuestion({ kind: "direct" }, 0), null, "no shards are known yet");
  assert.equal(shardOfQuestion({ kind: "guild", guild: 613425648685547541n }, 0), null);
  assert.equal(shardOfQuestion({ kind: "unclear", why: "several" }, 4), null);
});

test("a shard by its number", () => {
  const clusters = ["main", "patron_1"];
  /** @type {[text: string, shard: number, cluster: string | null][]} */
  const cases = [
    ["Shard: 12", 12, null], ["shard no. 12", 12, null], ["shard 12/main", 12, "main"], ["shard 12 main", 12, "main"],
    ["https://status.example.org/#shard=main/12", 12, "main"], ["https://status.example.org/#shard=12", 12, null],
    ["shard 12", 12, null], ["Shard #12", 12, null], ["#12", 12, null], ["shard12", 12, null],
    ["shard 12 of main", 12, "main"], ["shard 3 patron_1", 3, "patron_1"], ["main 7", 7, "main"], ["MAIN/7", 7, "main"],
    ["patron_1 shard 2", 2, "patron_1"], ["main: 0", 0, "main"],
  ];
  for (const [text, shard, cluster] of cases) assert.deepEqual(parseQuestion(text, clusters), { kind: "shard", shard, cluster }, text);
  for (const text of ["12", "other 7", "shard 12 of other", "shard", "main", "shard 1234567"]) {
    assert.equal(parseQuestion(text, clusters).kind, "unclear", text);
  }
  for (const text of ["dm", "DMs", "direct messages"]) assert.deepEqual(parseQuestion(text), { kind: "direct" });
  const question = /** @type {const} */ ({ kind: "shard", shard: 12, cluster: "main" });
  assert.equal(shardOfQuestion(question, 16, "main"), 12);
  assert.equal(shardOfQuestion(question, 16, "demo"), null);
  assert.equal(shardOfQuestion(question, 12, "main"), null, "beyond the last one");
  assert.equal(shardOfQuestion({ ...question, cluster: null }, 16, "demo"), 12);
});

test("no text, however odd, is too much", () => {
  let seed = 1;
  const alphabet = "0123456789 @me/#<>:discord.com/channels\u0000\ud83d\ude00\u200b,";
  for (let round = 0; round < 5000; round += 1) {
    let text = "";
    for (let length = seed % 60; length > 0; length -= 1) {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      text += alphabet[seed % alphabet.length];
    }
    const question = parseQuestion(text);
    if (question.kind === "guild") assert.ok(question.guild < 1n << 64n, text);
    seed += 1;
  }
  assert.equal(parseQuestion("9".repeat(1_000_000)).kind, "unclear");
});

test("the page's address leads to an answer and back", () => {
  assert.equal(readFragment("#guild=613425648685547541"), ID);
  assert.equal(readFragment("#clusters"), null);
  assert.equal(readFragment(""), null);
  for (const text of [ID, "@me", "shard 12", "main 3"]) {
    const question = parseQuestion(text, ["main"]);
    assert.notEqual(question.kind, "unclear");
    assert.deepEqual(parseQuestion(readFragment(writeFragment(question)) ?? "", ["main"]), question);
  }
  assert.equal(writeFragment({ kind: "empty" }), "");
});
