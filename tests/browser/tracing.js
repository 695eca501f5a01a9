/** Reads what Chromium traced of a page's main thread. Pure. */

const SCRIPT = new Set(["FunctionCall", "EvaluateScript", "v8.run", "RunMicrotasks", "FireAnimationFrame", "TimerFire", "EventDispatch", "MinorGC", "MajorGC", "V8.GCScavenger"]);
const FRAME = "BeginMainThreadFrame";

/**
 * @typedef {{name: string, ph: string, ts: number, dur?: number, pid: number, tid: number, args?: any}} Event times in µs
 */

/**
 * @param {Event[]} events
 * @returns {Event[]} those of the busiest main thread of a page
 */
function pickThread(events) {
  const threads = events.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain");
  const busy = threads.map(({ pid, tid }) => events.filter((event) => event.pid === pid && event.tid === tid));
  return busy.reduce((best, own) => (own.length > best.length ? own : best), []).sort((one, other) => one.ts - other.ts);
}

/**
 * @param {Event[]} events
 * @returns {number[]} the length of each task, in milliseconds
 */
export function listTasks(events) {
  return pickThread(events).filter(({ name, ph }) => name === "RunTask" && ph === "X").map(({ dur = 0 }) => dur / 1000);
}

/**
 * @param {Event[]} events
 * @returns {number[]} how long scripts ran in each frame of the screen, in milliseconds
 */
export function sumScriptByFrame(events) {
  const sums = [0];
  let until = 0;
  for (const { name, ph, ts, dur = 0 } of pickThread(events)) {
    if (name === FRAME) sums.push(0);
    if (ph !== "X" || !SCRIPT.has(name) || ts + dur <= until) continue;
    // Calls within calls count once.
    sums[sums.length - 1] += (ts + dur - Math.max(ts, until)) / 1000;
    until = ts + dur;
  }
  return sums;
}

/** @param {number[]} lengths */
export function longest(lengths) {
  return lengths.reduce((most, length) => Math.max(most, length), 0);
}
