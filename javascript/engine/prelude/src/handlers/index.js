// One event: from the map that the host hands over to the one that it gets back.
import { header, show } from '../errors.js';
import { log } from '../host.js';
import { enterEvent } from '../bindings/env.js';
import { serveFetch } from './fetch.js';
import { serveQueue } from './queue.js';
import { serveScheduled } from './scheduled.js';

const served = { fetch: serveFetch, queue: serveQueue, scheduled: serveScheduled };

export async function handle(name, event) {
  try {
    return await served[name](event, enterEvent(event));
  } catch (error) {
    log(4, `Uncaught ${show(error)}`);
    return { error: { code: 'exception', message: header(error).slice(0, 2000) } };
  }
}
