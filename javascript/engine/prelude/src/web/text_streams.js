// TextEncoderStream and TextDecoderStream (Encoding Standard).
import { define, describeClass } from '../define.js';
import { utf8Encode } from '../host.js';
import { TextDecoder } from './encoding.js';
import { TransformStream } from './streams.js';

class TextEncoderStream {
  #pair;

  constructor() {
    let high = ''; // half of a pair, whose other half the next chunk may begin with
    this.#pair = new TransformStream({
      transform(chunk, controller) {
        let text = high + String(chunk);
        const last = text.charCodeAt(text.length - 1);
        high = last >= 0xd800 && last <= 0xdbff ? text.at(-1) : '';
        if (high) text = text.slice(0, -1);
        if (text) controller.enqueue(utf8Encode(text));
      },
      flush(controller) {
        if (high) controller.enqueue(utf8Encode('\ufffd'));
      },
    });
  }

  get encoding() { return 'utf-8'; }
  get readable() { return this.#pair.readable; }
  get writable() { return this.#pair.writable; }
}

class TextDecoderStream {
  #pair;
  #decoder;

  constructor(label = 'utf-8', options = undefined) {
    const decoder = this.#decoder = new TextDecoder(label, options);
    this.#pair = new TransformStream({
      transform(chunk, controller) {
        if (chunk === undefined) throw new TypeError('TextDecoderStream: a chunk is an ArrayBuffer or a view of one.');
        const text = decoder.decode(chunk, { stream: true });
        if (text) controller.enqueue(text);
      },
      flush(controller) {
        const text = decoder.decode();
        if (text) controller.enqueue(text);
      },
    });
  }

  get encoding() { return this.#decoder.encoding; }
  get fatal() { return this.#decoder.fatal; }
  get ignoreBOM() { return this.#decoder.ignoreBOM; }
  get readable() { return this.#pair.readable; }
  get writable() { return this.#pair.writable; }
}

describeClass(TextEncoderStream, ['encoding', 'readable', 'writable']);
describeClass(TextDecoderStream, ['encoding', 'fatal', 'ignoreBOM', 'readable', 'writable']);
define({ TextEncoderStream, TextDecoderStream });
