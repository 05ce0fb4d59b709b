// What a worker's top level left to be called: its default export, its classes, its listeners.
import { handlerOf } from '../global_events.js';
import { WorkerEntrypoint } from '../modules/workers.js';

const HANDLERS = ['fetch', 'queue', 'scheduled'];

let exported = null;
const found = {};

// Called when the top level was evaluated. Throws what whoever deploys is told.
export function loaded(namespace) {
  exported = namespace === undefined ? null : namespace.default ?? null;
  for (const name of HANDLERS) found[name] = look(name);
  const handlers = HANDLERS.filter((name) => found[name]);
  if (!handlers.length) throw new TypeError(nothing(namespace));
  const entrypoints = namespace === undefined
    ? []
    : Object.keys(namespace).filter((name) => name !== 'default' && isEntrypoint(namespace[name]));
  return { handlers, entrypoints };
}

function nothing(namespace) {
  return namespace === undefined || !('default' in namespace)
    ? 'The script has no handler: it needs `export default { fetch(request, env, ctx) { … } }`, or `addEventListener("fetch", …)`.'
    : 'The default export has none of the handlers fetch, queue and scheduled: export an object or a class that has one.';
}

function isEntrypoint(value) {
  return typeof value === 'function' && value.prototype instanceof WorkerEntrypoint;
}

// How the handler `name` is called, (argument, env, ctx) => its result, or the listener that is; undefined: there is none.
export function find(name) {
  return found[name];
}

function look(name) {
  if (exported === null) {
    const listener = handlerOf(name);
    return listener && { listener };
  }
  if (typeof exported === 'function') {
    if (typeof exported.prototype?.[name] !== 'function') return undefined;
    return { call: (argument, env, ctx) => new exported(ctx, env)[name](argument) };
  }
  if (typeof exported[name] !== 'function') return undefined;
  return { call: (argument, env, ctx) => exported[name](argument, env, ctx) };
}
