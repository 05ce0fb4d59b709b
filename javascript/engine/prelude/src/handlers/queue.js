// A batch of messages, and what becomes of each: acknowledged unless it is to come again. Whoever speaks first of a
// message is heard, as of the batch; a message's own word goes before the batch's.
import { integer } from '../integer.js';
import { contextFor, settled } from './context.js';
import { QueueEvent } from './events.js';
import { failed } from './failed.js';
import { withoutVisitor } from './leaving.js';
import { find } from './registry.js';

const ACKNOWLEDGED = Object.freeze({ again: false });

class Message {
  #verdicts;

  constructor(message, verdicts) {
    this.#verdicts = verdicts;
    this.id = message.id;
    this.timestamp = new Date(message.timestamp_ms);
    this.attempts = message.attempts;
    this.body = message.body;
  }

  ack() { this.#say(ACKNOWLEDGED); }
  retry(options = undefined) { this.#say(retried(options)); }

  #say(verdict) {
    if (!this.#verdicts.has(this.id)) this.#verdicts.set(this.id, verdict);
  }
}

class MessageBatch {
  #verdicts = new Map();
  #all = undefined; // what holds for messages without a verdict of their own

  constructor(event) {
    this.queue = event.queue;
    this.messages = event.messages.map((message) => new Message(message, this.#verdicts));
  }

  ackAll() { this.#all ??= ACKNOWLEDGED; }
  retryAll(options = undefined) {
    const verdict = retried(options);
    this.#all ??= verdict;
  }

  // What nobody spoke of is `otherwise`: in neither list, where that is undefined.
  static answer(batch, otherwise) {
    const ack = [], retry = [];
    for (const { id } of batch.messages) {
      const verdict = batch.#verdicts.get(id) ?? batch.#all ?? otherwise;
      if (verdict === undefined) continue;
      if (!verdict.again) ack.push(id);
      else retry.push(verdict.delay === undefined ? id : [id, verdict.delay]);
    }
    return { ack, retry };
  }
}

const { answer } = MessageBatch;
delete MessageBatch.answer;

function retried(options) {
  return { again: true, delay: integer('delaySeconds', options?.delaySeconds) };
}

export async function serveQueue(event, env) {
  withoutVisitor();
  const context = contextFor(event);
  const batch = new MessageBatch(event);
  const handler = find('queue');
  if (!handler) throw new TypeError('Handler does not export a queue() function.');
  try {
    await (handler.listener
      ? handler.listener.call(globalThis, new QueueEvent(batch, context))
      : handler.call(batch, env, context));
    await settled(context);
  } catch (error) {
    return { ...failed(error), ...answer(batch, undefined) };
  }
  return answer(batch, ACKNOWLEDGED);
}
