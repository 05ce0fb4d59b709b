// `node:async_hooks`: values that follow the code which is called later, through promises, timers and the host's answers.
// A flow (host.js) is a Map of storages and their values; it never changes: who sets a value enters a new one.
import { flow, inFlow, startFlow } from '../../flow.js';

export class AsyncLocalStorage {
  #default;
  #name;

  constructor({ defaultValue, name = '' } = {}) {
    this.#default = defaultValue;
    this.#name = String(name);
  }

  get name() { return this.#name; }

  getStore() {
    const values = flow();
    return values?.has(this) ? values.get(this) : this.#default;
  }

  run(store, callback, ...values) {
    return inFlow(this.#with(store), callback, null, values);
  }

  exit(callback, ...values) {
    return inFlow(this.#without(), callback, null, values);
  }

  // From here on, until what the platform called has returned.
  enterWith(store) { startFlow(this.#with(store)); }

  disable() { startFlow(this.#without()); }

  #with(store) {
    return new Map(flow()).set(this, store);
  }

  #without() {
    const values = new Map(flow());
    values.delete(this);
    return values.size ? values : undefined;
  }

  static bind(callback) {
    return AsyncResource.bind(callback);
  }

  static snapshot() {
    const values = flow();
    return (callback, ...given) => inFlow(values, callback, null, given);
  }
}

let newest = 0;

export class AsyncResource {
  #type;
  #flow = flow();
  #id = ++newest;

  constructor(type, _options) {
    if (typeof type !== 'string') throw new TypeError('AsyncResource: the type is a string');
    this.#type = type;
  }

  asyncId() { return this.#id; }
  triggerAsyncId() { return 0; }
  emitDestroy() { return this; }

  runInAsyncScope(callback, self, ...values) {
    return inFlow(this.#flow, callback, self, values);
  }

  bind(callback, self = undefined) {
    return bound(this.#flow, callback, self);
  }

  static bind(callback, _type, self = undefined) {
    return bound(flow(), callback, self);
  }
}

function bound(values, callback, self) {
  if (typeof callback !== 'function') throw new TypeError('bind: a function is needed');
  const made = function (...given) {
    return inFlow(values, callback, self === undefined ? this : self, given);
  };
  return Object.defineProperty(made, 'length', { value: callback.length, configurable: true });
}

export default { AsyncLocalStorage, AsyncResource };
