// `cloudflare:workers`
import { currentEnv } from '../bindings/env.js';

export class WorkerEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

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

// The bindings, for code that is handed none: those of the event that is served.
export const env = new Proxy({}, {
  get: (_, name) => currentEnv()?.[name],
  has: (_, name) => name in (currentEnv() ?? {}),
  ownKeys: () => Reflect.ownKeys(currentEnv() ?? {}),
  getOwnPropertyDescriptor: (_, name) => {
    const found = Reflect.getOwnPropertyDescriptor(currentEnv() ?? {}, name);
    return found && { value: currentEnv()[name], enumerable: found.enumerable, configurable: true, writable: true };
  },
});
