// `node:diagnostics_channel`
const { reportError } = globalThis;

const channels = new Map();

export class Channel {
  #subscribers = [];
  #stores = new Map();

  constructor(name) { this.name = name; }

  get hasSubscribers() { return this.#subscribers.length > 0 || this.#stores.size > 0; }

  subscribe(subscriber) {
    if (typeof subscriber !== 'function') throw new TypeError('subscribe: a function is needed');
    this.#subscribers = [...this.#subscribers, subscriber];
  }

  unsubscribe(subscriber) {
    const left = this.#subscribers.filter((each) => each !== subscriber);
    const had = left.length < this.#subscribers.length;
    this.#subscribers = left;
    return had;
  }

  // What a subscriber throws is reported, and is nobody else's.
  publish(message) {
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(message, this.name);
      } catch (error) {
        reportError(error);
      }
    }
  }

  bindStore(store, transform = (message) => message) { this.#stores.set(store, transform); }
  unbindStore(store) { return this.#stores.delete(store); }

  runStores(message, callback, self = undefined, ...values) {
    const run = [...this.#stores].reduce(
      (inner, [store, transform]) => () => store.run(transform(message), inner),
      () => {
        this.publish(message);
        return Reflect.apply(callback, self, values);
      },
    );
    return run();
  }
}

export function channel(name) {
  if (!channels.has(name)) channels.set(name, new Channel(name));
  return channels.get(name);
}

export const hasSubscribers = (name) => channels.get(name)?.hasSubscribers ?? false;
export const subscribe = (name, subscriber) => channel(name).subscribe(subscriber);
export const unsubscribe = (name, subscriber) => channel(name).unsubscribe(subscriber);

const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'];

class TracingChannel {
  constructor(given) {
    for (const name of EVENTS) this[name] = typeof given === 'string' ? channel(`tracing:${given}:${name}`) : given[name];
  }

  get hasSubscribers() { return EVENTS.some((name) => this[name].hasSubscribers); }

  subscribe(subscribers) { for (const name of EVENTS) if (subscribers[name]) this[name].subscribe(subscribers[name]); }

  unsubscribe(subscribers) {
    return EVENTS.map((name) => !subscribers[name] || this[name].unsubscribe(subscribers[name])).every(Boolean);
  }

  traceSync(callback, context = {}, self = undefined, ...values) {
    return this.start.runStores(context, () => {
      try {
        context.result = Reflect.apply(callback, self, values);
        return context.result;
      } catch (error) {
        context.error = error;
        this.error.publish(context);
        throw error;
      } finally {
        this.end.publish(context);
      }
    });
  }

  tracePromise(callback, context = {}, self = undefined, ...values) {
    const ended = (key) => (value) => {
      context[key] = value;
      if (key === 'error') this.error.publish(context);
      this.asyncStart.publish(context);
      this.asyncEnd.publish(context);
      if (key === 'error') throw value;
      return value;
    };
    return this.start.runStores(context, () => {
      try {
        return Promise.resolve(Reflect.apply(callback, self, values)).then(ended('result'), ended('error'));
      } catch (error) {
        context.error = error;
        this.error.publish(context);
        throw error;
      } finally {
        this.end.publish(context);
      }
    });
  }
}

export const tracingChannel = (given) => new TracingChannel(given);
export default { Channel, channel, hasSubscribers, subscribe, unsubscribe, tracingChannel };
