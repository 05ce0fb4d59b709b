// A queue, for who sends to it.
import { operation } from '../host.js';
import { integer } from '../integer.js';

const TYPES = ['json', 'text', 'bytes'];

export class QueueProducer {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async send(body, options = undefined) {
    const { body: given, ...rest } = message(body, options);
    await operation('queue.send', this.#name, given, rest);
  }

  async sendBatch(messages, options = undefined) {
    const batch = [];
    for (const one of messages) batch.push(message(one.body, one));
    await operation('queue.send_batch', this.#name, batch, delay(options?.delaySeconds));
  }
}

function delay(given) {
  const seconds = integer('delaySeconds', given);
  return seconds === undefined ? {} : { delay_seconds: seconds };
}

function message(body, options) {
  const type = options?.contentType ?? 'json';
  if (type === 'v8') throw new TypeError('Content Type "v8" is not taken here: only V8 reads it. Use "json", "text" or "bytes".');
  if (!TYPES.includes(type)) throw new TypeError(`Unsupported queue message content type: ${type}`);
  if (type === 'text' && typeof body !== 'string') throw new TypeError('Content Type "text" requires a value of type string, but received another.');
  if (type === 'bytes' && !(body instanceof ArrayBuffer) && !ArrayBuffer.isView(body)) {
    throw new TypeError('Content Type "bytes" requires a value of type ArrayBufferView, but received another.');
  }
  return { body: type === 'json' ? asJson(body) : body, content_type: type, ...delay(options?.delaySeconds) };
}

// What JSON makes of it: dates as text, nothing that is undefined.
export function asJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError('the value has no JSON');
  return JSON.parse(text);
}
