// One event: from the map that the host hands over to the one that it gets back, or a promise of it. What answers at
// once is answered without a promise: each costs as much as the rest of a small request.
import { enterEvent } from '../bindings/env.js';
import { failed } from './failed.js';
import { serveFetch } from './fetch.js';
import { serveQueue } from './queue.js';
import { serveScheduled } from './scheduled.js';
import { serveTail } from './tail.js';

const served = { fetch: serveFetch, queue: serveQueue, scheduled: serveScheduled, tail: serveTail };

export function handle(name, event) {
  try {
    const result = served[name](event, enterEvent(event));
    return result instanceof Promise ? result.catch(failed) : result;
  } catch (error) {
    return failed(error);
  }
}
