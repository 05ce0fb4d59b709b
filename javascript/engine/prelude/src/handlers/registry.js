// What a worker's top level left to be called: its default export, its entry points, its listeners.
import { handlerOf } from '../global_events.js';
import { keepFiles } from '../modules/commonjs.js';
import { WorkerEntrypoint } from '../modules/workers.js';

const HANDLERS = ['fetch', 'queue', 'scheduled', 'tail'];

let exported = null;
const found = {};
const entries = new Map();

// Called when the top level was evaluated. Throws what whoever deploys is told.
export function loaded(namespace) {
  keepFiles();
  exported = namespace === undefined ? null : namespace.default ?? null;
  for (const name of HANDLERS) found[name] = exported === null ? listenerOf(name) : look(exported, name);
  if (isClass(exported)) entries.set('default', exported);
  for (const name of Object.keys(namespace ?? {})) {
    if (name !== 'default' && isEntry(namespace[name])) entries.set(name, namespace[name]);
  }
  const handlers = HANDLERS.filter((name) => found[name]);
  const entrypoints = [...entries.keys()];
  if (!handlers.length && !entrypoints.length) throw new TypeError(nothing(namespace));
  return { handlers, entrypoints };
}

function nothing(namespace) {
  return namespace === undefined || !('default' in namespace)
    ? 'The script has no handler: it needs `export default { fetch(request, env, ctx) { … } }`, or `addEventListener("fetch", …)`.'
    : 'The default export has none of the handlers fetch, queue, scheduled and tail: export an object or a class that has one.';
}

const isClass = (value) => typeof value === 'function' && value.prototype instanceof WorkerEntrypoint;

// What a service binding may name: a class of the platform's kind, or an object that answers requests.
const isEntry = (value) => isClass(value) || (typeof value === 'object' && value !== null && typeof value.fetch === 'function');

// How the handler `name` is called, (argument, env, ctx) => its result, or the listener that is; undefined: there is none.
export function find(name) {
  return found[name];
}

// The export of this name that a service binding leads to, the default one without a name. Throws for one that is none.
export function entryOf(name = 'default') {
  const entry = entries.get(name) ?? (name === 'default' ? exported : undefined);
  if (entry === undefined || entry === null) throw new TypeError(`The worker has no entry point "${name}".`);
  return entry;
}

// An instance of the entry point, for who calls its methods.
export function instanceOf(entry, env, ctx) {
  if (!isClass(entry)) {
    throw new TypeError('The entry point has no methods to call: it is no class that extends WorkerEntrypoint of "cloudflare:workers".');
  }
  return new entry(ctx, env);
}

function listenerOf(name) {
  const listener = handlerOf(name);
  return listener && { listener };
}

// Of an export.
export function look(value, name) {
  if (typeof value === 'function') {
    if (typeof value.prototype?.[name] !== 'function') return undefined;
    return { call: (argument, env, ctx) => new value(ctx, env)[name](argument) };
  }
  if (typeof value[name] !== 'function') return undefined;
  return { call: (argument, env, ctx) => value[name](argument, env, ctx) };
}
