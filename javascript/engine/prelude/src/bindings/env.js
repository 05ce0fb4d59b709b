// `env`: what a worker is lent, by name. One is made for each event; what it costs is asked for when it is used.
import { wait } from '../host.js';
import { handlerOf } from '../global_events.js';
import { KvNamespace } from './kv.js';

let current = null;

export const currentEnv = () => current;

// type, as upload metadata has it → (name, event) => the value
const made = {
  kv_namespace: (name) => new KvNamespace(name),
  json: (name, { vars }) => JSON.parse(vars[name]),
};

// `event.env` lists [name, type]…; variables that are text are in `event.vars`.
export function enterEvent(event) {
  const env = { ...event.vars };
  for (const [name, type] of event.env ?? []) {
    if (type === 'secret_text') defineSecret(env, name);
    else if (made[type]) env[name] = made[type](name, event);
  }
  current = env;
  if (handlerOf('fetch') || handlerOf('scheduled') || handlerOf('queue')) {
    // A service worker finds its bindings in the global scope.
    for (const name of Object.keys(env)) Object.defineProperty(globalThis, name, Object.getOwnPropertyDescriptor(env, name));
  }
  return env;
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

