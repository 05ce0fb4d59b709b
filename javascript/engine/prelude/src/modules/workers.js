// `cloudflare:workers`
import { currentEnv } from '../bindings/env.js';
import { currentContext } from '../handlers/context.js';

export class WorkerEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

// For who tests against it: what extends it can't be passed to another worker.
export class RpcTarget {}

function refused(what) {
  return class {
    constructor() {
      throw new Error(`${what} are not supported here.`);
    }
  };
}

export const DurableObject = refused('Durable Objects');
export const WorkflowEntrypoint = refused('Workflows');
export const RpcStub = refused('Stubs');

export function withEnv() {
  throw new Error('withEnv() is not supported here: hand what differs over as an argument.');
}

export function waitUntil(promise) {
  const context = currentContext();
  if (context === null) throw new Error('waitUntil() belongs to an event: call it in a handler, not at the top level.');
  context.waitUntil(promise);
}

// What a top level leaves is shared by all versions with the same modules, whatever they are bound to.
function bindings() {
  const env = currentEnv();
  if (env !== null) return env;
  throw new Error('env of "cloudflare:workers" has nothing in it at the top level here: read it in a handler, or in what a handler calls.');
}

// The bindings, for code that is handed none: those of the event that is served.
export const env = new Proxy({}, {
  get: (_, name) => (typeof name === 'symbol' && currentEnv() === null ? undefined : bindings()[name]),
  has: (_, name) => name in bindings(),
  set: (_, name, value) => Reflect.set(bindings(), name, value),
  ownKeys: () => Reflect.ownKeys(bindings()),
  getOwnPropertyDescriptor: (_, name) => {
    const found = Reflect.getOwnPropertyDescriptor(bindings(), name);
    return found && { value: bindings()[name], enumerable: found.enumerable, configurable: true, writable: true };
  },
});
