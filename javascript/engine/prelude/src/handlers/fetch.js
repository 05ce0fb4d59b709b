// A visitor's request, or another worker's.
import { BODY } from '../fetch/body.js';
import { requestFrom } from '../fetch/request.js';
import { serveCall } from './call.js';
import { contextFor } from './context.js';
import { FetchEvent } from './events.js';
import { entryOf, find, look } from './registry.js';
import { respond } from './respond.js';

export function serveFetch(event, env) {
  const { entry } = event;
  if (entry !== undefined && entry.call !== undefined) return serveCall(event, env);
  const request = requestFrom(event);
  const context = contextFor(event);
  const handler = entry === undefined || entry.name === undefined ? find('fetch') : look(entryOf(entry.name), 'fetch');
  if (!handler) throw new TypeError('Handler does not export a fetch() function.');
  const response = handler.listener
    ? new FetchEvent(request, context).dispatchTo(handler.listener)
    : handler.call(request, env, context);
  // Whatever has a `then` is waited for.
  return typeof response?.then === 'function'
    ? Promise.resolve(response).then((resolved) => answer(resolved, context, event.method === 'HEAD'))
    : answer(response, context, event.method === 'HEAD');
}

function answer(response, context, isHead) {
  if (typeof response !== 'object' || response === null || !(BODY in response) || typeof response.status !== 'number') {
    throw new TypeError(
      'Incorrect type for Promise: the Promise did not resolve to \'Response\'. A fetch handler returns a Response.',
    );
  }
  return respond(response, context, isHead);
}
