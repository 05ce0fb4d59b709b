// `env`: what a worker is lent, by name. One is made for each event; what it costs is asked for when it is used.
import { wait } from '../host.js';
import { isServiceWorker } from '../global_events.js';
import { AnalyticsEngineDataset } from './analytics.js';
import { cacheOf, cachesAre } from './cache.js';
import { D1Database } from './d1.js';
import { DispatchNamespace, service } from './fetcher.js';
import { KvNamespace } from './kv.js';
import { QueueProducer } from './queue.js';
import { RateLimit } from './rate_limit.js';

let current = null;

export const currentEnv = () => current;

// type, as upload metadata has it → (name, event) => the value
const made = {
  analytics_engine: (name) => new AnalyticsEngineDataset(name),
  cache: (name) => cacheOf(name),
  d1: (name) => new D1Database(name),
  dispatch_namespace: (name) => new DispatchNamespace(name),
  kv_namespace: (name) => new KvNamespace(name),
  queue: (name) => new QueueProducer(name),
  ratelimit: (name) => new RateLimit(name),
  service: (name) => service(name),
  json: (name, { vars }) => JSON.parse(vars[name]),
};

// `event.env` lists [name, type]…; variables that are text are in `event.vars`.
export function enterEvent(event) {
  const env = event.vars ?? {};
  const bindings = event.env;
  if (bindings !== undefined && bindings.length) bind(env, bindings, event);
  if (event.params !== undefined && ASKER in event.params) lendParams(env, event.params);
  current = env;
  if (isServiceWorker()) {
    // It finds its bindings in the global scope.
    for (const name of Object.keys(env)) Object.defineProperty(globalThis, name, Object.getOwnPropertyDescriptor(env, name));
  }
  return env;
}

// An outbound worker is told who asks, and finds what the dispatcher passed to it among its bindings.
const ASKER = 'tenantry.tenant';

function lendParams(env, params) {
  for (const name of Object.keys(params)) if (!name.startsWith('tenantry.') && !(name in env)) env[name] = params[name];
}

function bind(env, bindings, event) {
  const caches = new Map();
  for (const [name, type] of bindings) {
    if (type === 'secret_text') defineSecret(env, name);
    else if (made[type]) env[name] = made[type](name, event);
    if (type === 'cache') caches.set(name, env[name]);
  }
  cachesAre(caches);
}

// A secret is a string, and is there when it is read: so it is fetched then, and the worker stands still.
function defineSecret(env, name) {
  Object.defineProperty(env, name, {
    enumerable: true,
    configurable: true,
    get() {
      const value = wait('secret.get', name);
      Object.defineProperty(env, name, { value, enumerable: true, configurable: true, writable: true });
      return value;
    },
    set(value) {
      Object.defineProperty(env, name, { value, enumerable: true, configurable: true, writable: true });
    },
  });
}

