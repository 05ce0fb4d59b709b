// A batch of messages, and what becomes of each: acknowledged unless it is to come again.
import { ExecutionContext, settled } from './context.js';
import { QueueEvent } from './events.js';
import { find } from './registry.js';

class Message {
  #verdicts;

  constructor(message, verdicts) {
    this.#verdicts = verdicts;
    this.id = message.id;
    this.timestamp = new Date(message.timestamp_ms);
    this.attempts = message.attempts;
    this.body = message.body;
  }

  ack() { this.#verdicts.set(this.id, null); }
  retry(options) { if (this.#verdicts.get(this.id) !== null) this.#verdicts.set(this.id, delayOf(options)); }
}

class MessageBatch {
  #verdicts = new Map();
  #all = undefined; // what holds for messages without a verdict of their own; null: acknowledged

  constructor(event) {
    this.queue = event.queue;
    this.messages = event.messages.map((message) => new Message(message, this.#verdicts));
  }

  ackAll() { this.#all = null; }
  retryAll(options) { this.#all = delayOf(options); }

  static answer(batch) {
    const ack = [], retry = [];
    for (const { id } of batch.messages) {
      const verdict = batch.#verdicts.has(id) ? batch.#verdicts.get(id) : batch.#all;
      if (verdict === null || verdict === undefined) ack.push(id);
      else retry.push(verdict.delay === undefined ? id : [id, verdict.delay]);
    }
    return { ack, retry };
  }
}

const { answer } = MessageBatch;
delete MessageBatch.answer;

function delayOf(options) {
  return { delay: options?.delaySeconds };
}

export async function serveQueue(event, env) {
  const context = new ExecutionContext();
  const batch = new MessageBatch(event);
  const handler = find('queue');
  if (!handler) throw new TypeError('Handler does not export a queue() function.');
  await (handler.listener
    ? handler.listener.call(globalThis, new QueueEvent(batch, context))
    : handler.call(batch, env, context));
  await settled(context);
  return answer(batch);
}
