// What the listeners of a service worker get: `addEventListener("fetch", (event) => event.respondWith(…))`.
import { Event } from '../web/events.js';

class ExtendableEvent extends Event {
  #context;

  constructor(type, context) {
    super(type, { cancelable: true });
    this.#context = context;
  }

  waitUntil(promise) { this.#context.waitUntil(promise); }
  passThroughOnException() { this.#context.passThroughOnException(); }
}

class FetchEvent extends ExtendableEvent {
  #response;
  #hasResponse = false;

  constructor(request, context) {
    super('fetch', context);
    this.request = request;
  }

  respondWith(response) {
    if (this.#hasResponse) throw new DOMException('FetchEvent.respondWith() was already called.', 'InvalidStateError');
    this.#hasResponse = true;
    this.#response = response;
  }

  async dispatchTo(listener) {
    const result = listener.call(globalThis, this);
    if (!this.#hasResponse) {
      await result;
      throw new TypeError('No event handler called respondWith(): nothing answers the request.');
    }
    return this.#response;
  }
}

class ScheduledEvent extends ExtendableEvent {
  constructor(controller, context) {
    super('scheduled', context);
    Object.assign(this, { scheduledTime: controller.scheduledTime, cron: controller.cron });
  }
}

class QueueEvent extends ExtendableEvent {
  constructor(batch, context) {
    super('queue', context);
    Object.assign(this, { queue: batch.queue, messages: batch.messages });
    this.ackAll = () => batch.ackAll();
    this.retryAll = (options) => batch.retryAll(options);
  }
}

class TailEvent extends ExtendableEvent {
  constructor(traces, context) {
    super('tail', context);
    Object.assign(this, { events: traces, traces });
  }
}

export { ExtendableEvent, FetchEvent, QueueEvent, ScheduledEvent, TailEvent };
