// Timers: the earliest one is how long the event loop waits for the host.
import { define } from './define.js';
import { inspect } from './inspect.js';
import { flow, inFlow } from './flow.js';
import { alarm, log, mayAsk, now } from './host.js';

const LONGEST_MS = 2 ** 31 - 1;
// Rising by when they are due, those that are due together in the order in which they were set.
const timers = [];
let newest = 0;

function insert(timer) {
  let at = timers.length;
  while (at > 0 && timers[at - 1].due > timer.due) at--;
  timers.splice(at, 0, timer);
  if (at === 0) alarm(timer.due);
}

function removeAt(at) {
  timers.splice(at, 1);
  if (at === 0) alarm(timers.length ? timers[0].due : Infinity);
}

function set(callback, delay, values, repeats) {
  mayAsk();
  if (typeof callback !== 'function') throw new TypeError('a timer needs a function to call');
  let ms = Math.trunc(Number(delay)) || 0;
  if (ms < 0 || ms > LONGEST_MS) ms = 0;
  const id = ++newest;
  insert({ id, due: now() + ms, callback, values, every: repeats ? Math.max(1, ms) : 0, flow: flow() });
  return id;
}

function clear(id) {
  const at = timers.findIndex((timer) => timer.id === Number(id));
  if (at >= 0) removeAt(at);
}

// Runs one that is due: between two of them the microtasks have their turn.
export function runTimer() {
  const timer = timers[0];
  if (!timer || timer.due > now()) return;
  removeAt(0);
  if (timer.every) insert({ ...timer, due: now() + timer.every });
  try {
    inFlow(timer.flow, timer.callback, undefined, timer.values);
  } catch (error) {
    log(5, `Uncaught ${inspect(error)}`);
  }
}

define({
  setTimeout: (callback, delay, ...values) => set(callback, delay, values, false),
  setInterval: (callback, delay, ...values) => set(callback, delay, values, true),
  clearTimeout: clear,
  clearInterval: clear,
  setImmediate: (callback, ...values) => set(callback, 0, values, false),
  clearImmediate: clear,
  scheduler: {
    wait: (delay, options) => new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      const id = set(resolve, delay, [], false);
      signal?.addEventListener('abort', () => { clear(id); reject(signal.reason); }, { once: true });
      return undefined;
    }),
  },
});
