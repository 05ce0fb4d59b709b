// Bodies of requests and responses. A body is text or bytes that are here, a stream of the host's by its id, or a
// ReadableStream; it becomes a ReadableStream only when somebody looks at `body`, so that most never do.
import { last, operation, utf8Decode, utf8Encode } from '../host.js';
import { joined } from '../joined.js';
import { ReadableStream } from '../web/streams.js';
import { URLSearchParams } from '../web/url.js';
import { abortable } from './abortable.js';
import { decoded } from './coding.js';

export const BODY = Symbol('body');
const READ_BYTES = 262144;

// ReadableStreams that are a stream of the host's, or of coded bytes, as long as nobody has read of them: {id, bytes, coding, toldBy}.
const untouched = new WeakMap();

export class Body {
  // At most one of `text`, `bytes`, `id` and `stream` is there. What is not stays the prototype's: each property that an
  // object has costs a small response as much as a comparison of all of them.
  constructor({ text, bytes, id, stream, type, toldBy }) {
    if (text !== undefined) this.text = text;
    if (bytes !== undefined) this.bytes = bytes;
    if (id !== undefined) this.id = id;
    if (stream !== undefined) this.stream = stream;
    if (type !== undefined && type !== null) this.type = type;
    if (toldBy !== undefined) this.toldBy = toldBy;
  }

  // How long it is, as the headers that `id` came with say it; undefined where nobody said, or it is not passed on as it came.
  get length() {
    const toldBy = this.stream === null ? this.toldBy : this.stream.locked ? undefined : untouched.get(this.stream)?.toldBy;
    return toldBy?.find(([name]) => name === 'content-length')?.[1];
  }

  // `bytes` or `id` are coded: whoever reads them here reads what they stand for.
  isCodedWith(coding) {
    this.coding = coding;
  }

  // How it would travel, if it were sent as it came.
  get codedWith() {
    return this.stream === null ? this.coding : this.stream.locked ? null : untouched.get(this.stream)?.coding ?? null;
  }

  // {bytes} or {id}, as they came.
  takeCoded() {
    if (this.stream === null) return { bytes: this.bytes, id: this.id };
    const { bytes, id } = untouched.get(this.stream);
    untouched.delete(this.stream);
    disturbed.add(this.stream);
    return { bytes, id };
  }

  // What is left of it can't be read any more once `signal` is aborted.
  endsWith(signal) {
    this.signal = signal;
  }

  get isUsed() {
    return this.used || (this.stream !== null && isDisturbed(this.stream));
  }

  get isLocked() {
    return this.stream !== null && this.stream.locked;
  }

  asStream() {
    if (this.stream === null) {
      if (this.coding !== null) {
        this.stream = streamOfCoded(this);
        this.coding = null;
      } else if (this.id === null) {
        this.stream = streamOfBytes(this.used ? null : this.asBytes());
        if (this.used) disturbed.add(this.stream);
      } else {
        this.stream = streamOfHost(this);
      }
      this.text = this.bytes = this.id = null;
    }
    return this.stream;
  }

  asBytes() {
    return this.bytes ?? utf8Encode(this.text);
  }

  take() {
    if (this.isUsed) throw new TypeError('Body has already been used. It can only be used once. Use tee() first if you need to read it twice.');
    if (this.isLocked) throw new TypeError('This ReadableStream is currently locked to a reader.');
    this.used = true;
  }

  // All of it, as text or as bytes, whichever is here.
  async whole() {
    this.take();
    if (this.text !== null) return this.text;
    if (this.coding !== null) return readAll(readCoded(this));
    if (this.bytes !== null) return this.bytes;
    const id = this.id ?? this.takeHostStream();
    return readAll(id === null ? readerOf(this.stream) : () => readHost(id, this.signal));
  }

  // It is a stream of the host's that nobody has looked into.
  get isPassedOn() {
    return this.id !== null || (this.stream !== null && !this.stream.locked && untouched.has(this.stream) && this.codedWith === null);
  }

  // The id of a stream of the host's that can be given away whole, or null.
  takeHostStream() {
    if (this.id !== null) return this.id;
    const state = this.stream && !this.stream.locked ? untouched.get(this.stream) : undefined;
    if (!state || state.coding) return null;
    untouched.delete(this.stream);
    disturbed.add(this.stream);
    return state.id;
  }

  clone() {
    if (this.isUsed || this.isLocked) throw new TypeError('Cannot clone a body that has been used.');
    if (this.stream === null && this.id === null && this.coding === null) return new Body({ text: this.text, bytes: this.bytes, type: this.type });
    const [one, other] = this.asStream().tee();
    this.stream = one;
    return new Body({ stream: other, type: this.type });
  }
}

Object.assign(Body.prototype, {
  text: null, bytes: null, id: null, stream: null, type: null, used: false, signal: null, coding: null, toldBy: undefined,
});

// -- streams ----------------------------------------------------------------------------------------------------------

const disturbed = new WeakSet();

// Of streams of ours: others are disturbed when they are locked by a body's reader, and `used` says that.
function isDisturbed(stream) {
  return disturbed.has(stream) || Boolean(stream._disturbed);
}

function streamOfBytes(bytes) {
  return new ReadableStream({
    type: 'bytes',
    pull(controller) {
      if (bytes !== null && bytes.byteLength) controller.enqueue(new Uint8Array(bytes));
      controller.close();
      controller.byobRequest?.respond(0);
    },
  }, { highWaterMark: 0 });
}

async function readHost(id, signal) {
  signal?.throwIfAborted();
  const asked = operation('stream.read', null, id, READ_BYTES);
  return abortable(signal, asked, last());
}

// `read` gives the next part, null at the end; `close` tells the host that nobody reads on. `state` is of `untouched`.
function streamOf(state, read, close) {
  const stream = new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      untouched.delete(stream);
      const part = await read();
      if (part !== null) {
        controller.enqueue(part);
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel() {
      untouched.delete(stream);
      return close();
    },
  }, { highWaterMark: 0 });
  untouched.set(stream, state);
  return stream;
}

const streamOfHost = ({ id, signal, toldBy }) => streamOf({ id, toldBy }, () => readHost(id, signal), () => operation('stream.close', null, id));

// A function that gives the next part of what a coded body stands for.
function readCoded({ id, bytes, coding, signal }) {
  let decoding = null;
  return async () => {
    decoding ??= decoded(coding, { id, bytes });
    return readHost(await decoding, signal);
  };
}

function streamOfCoded(body) {
  const { id, bytes, coding } = body;
  const close = () => (id === null ? undefined : operation('stream.close', null, id).catch(() => {}));
  return streamOf({ id, bytes, coding }, readCoded(body), close);
}

async function readAll(read) {
  const parts = [];
  let size = 0;
  for (let part = await read(); part !== null; part = await read()) {
    parts.push(part);
    size += part.byteLength;
  }
  return joined(parts, size);
}

// Gives the next part; null at the end. Its `cancel(reason)`: no more is wanted.
export function readerOf(stream) {
  const reader = stream.getReader();
  const read = async () => {
    const { done, value } = await reader.read();
    if (done) return null;
    if (!(value instanceof Uint8Array)) {
      const error = new TypeError('This TransformStream is being used as a byte stream, but received a value of another type; write Uint8Array.');
      await reader.cancel(error);
      throw error;
    }
    return value;
  };
  read.cancel = (reason) => reader.cancel(reason);
  return read;
}

// -- making one -------------------------------------------------------------------------------------------------------

// Kinds of body that other files know: [test, make], where `make` gives what Body is made of.
const kinds = [];
export function registerBodyKind(is, make) {
  kinds.push([is, make]);
}

// A Body of what a caller gave as one; null for none. `type` is the content type that it brings along.
export function extract(init) {
  if (init === null || init === undefined) return null;
  if (typeof init === 'string') return new Body({ text: init, type: 'text/plain;charset=UTF-8' });
  if (init instanceof ArrayBuffer) return new Body({ bytes: new Uint8Array(init.slice(0)) });
  if (ArrayBuffer.isView(init)) {
    return new Body({ bytes: new Uint8Array(init.buffer, init.byteOffset, init.byteLength).slice() });
  }
  if (init instanceof URLSearchParams) {
    return new Body({ text: String(init), type: 'application/x-www-form-urlencoded;charset=UTF-8' });
  }
  for (const [is, make] of kinds) if (is(init)) return new Body(make(init));
  if (init instanceof ReadableStream) {
    if (init.locked || isDisturbed(init)) throw new TypeError('This ReadableStream is disturbed (has already been read from), and cannot be used as a body.');
    return new Body({ stream: init });
  }
  return new Body({ text: String(init), type: 'text/plain;charset=UTF-8' });
}

// -- what Request and Response share ----------------------------------------------------------------------------------

const BOM = 0xfeff;
const asText = (whole) => {
  const text = typeof whole === 'string' ? whole : utf8Decode(whole, false);
  return text.charCodeAt(0) === BOM ? text.slice(1) : text;
};

async function wholeOf(owner) {
  const body = owner[BODY];
  return body === null ? '' : body.whole();
}

// Ways of reading a body that other files know: name → (whole, owner) => value.
export const readers = {
  text: asText,
  json: (whole) => JSON.parse(asText(whole)),
  bytes: (whole) => (typeof whole === 'string' ? utf8Encode(whole) : new Uint8Array(whole)),
  arrayBuffer: (whole) => readers.bytes(whole).buffer,
};

export function mixBodyInto(constructor) {
  const properties = {
    body: { get() { return this[BODY] === null ? null : this[BODY].asStream(); } },
    bodyUsed: { get() { return this[BODY] !== null && this[BODY].isUsed; } },
  };
  for (const name of Object.keys(readers)) {
    const read = { async [name]() { return readers[name](await wholeOf(this), this); } }[name];
    properties[name] = { value: read, writable: true };
  }
  for (const name of Object.keys(properties)) {
    Object.defineProperty(constructor.prototype, name, { ...properties[name], enumerable: true, configurable: true });
  }
}
