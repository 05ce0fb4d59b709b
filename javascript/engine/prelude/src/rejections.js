// Promises that were rejected, and that nobody handled by the time the microtasks were done.
import { log } from './host.js';
import { inspect } from './inspect.js';
import { dispatch } from './global_events.js';
import { isLeaving } from './handlers/leaving.js';

const unhandled = new Map();

export function rejection(promise, reason, handled) {
  if (handled) unhandled.delete(promise);
  else unhandled.set(promise, reason);
}

export function report() {
  const found = [...unhandled];
  unhandled.clear();
  for (const [promise, reason] of found) {
    if (!isLeaving(reason) && dispatch('unhandledrejection', { promise, reason })) log(5, `Uncaught (in promise) ${inspect(reason)}`);
  }
}
