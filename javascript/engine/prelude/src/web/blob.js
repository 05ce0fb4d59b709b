// Blob and File (File API): bytes that are here, joined when one is made; a slice shares them.
import { define, describeClass } from '../define.js';
import { readers, registerBodyKind } from '../fetch/body.js';
import { utf8Decode, utf8Encode } from '../host.js';
import { ReadableStream } from './streams.js';

const CHUNK_BYTES = 65536;
const SHARED = Symbol('shared');

let bytesOf;

class Blob {
  #bytes;
  #type;

  static {
    bytesOf = (blob) => blob.#bytes;
  }

  constructor(parts = [], options = undefined) {
    if (parts !== null && parts?.[SHARED]) {
      this.#bytes = parts[SHARED];
    } else {
      if (typeof parts !== 'object' || parts === null || typeof parts[Symbol.iterator] !== 'function') {
        throw new TypeError('Blob: its parts are an array, or something else that can be iterated');
      }
      if (options !== undefined && options !== null && typeof options !== 'object' && typeof options !== 'function') {
        throw new TypeError('Blob: options are an object');
      }
      const isNative = endingsOf(options) === 'native';
      this.#bytes = joined(Array.from(parts, (part) => partBytes(part, isNative)));
    }
    this.#type = typeOf(options?.type);
  }

  get size() { return this.#bytes.byteLength; }
  get type() { return this.#type; }

  slice(start = 0, end = this.size, type = '') {
    const from = clamp(start, this.size), to = Math.max(from, clamp(end, this.size));
    return new Blob({ [SHARED]: this.#bytes.subarray(from, to) }, { type });
  }

  async text() {
    const text = utf8Decode(this.#bytes, false);
    return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  }

  async arrayBuffer() { return this.#bytes.slice().buffer; }
  async bytes() { return this.#bytes.slice(); }

  stream() {
    const bytes = this.#bytes;
    let at = 0;
    return new ReadableStream({
      type: 'bytes',
      pull(controller) {
        if (at < bytes.byteLength) {
          controller.enqueue(bytes.slice(at, at + CHUNK_BYTES));
          at += CHUNK_BYTES;
        }
        if (at < bytes.byteLength) return;
        controller.close();
        controller.byobRequest?.respond(0);
      },
    }, { highWaterMark: 0 });
  }
}

class File extends Blob {
  #name;
  #lastModified;

  constructor(parts, name, options = undefined) {
    if (arguments.length < 2) throw new TypeError('File: its parts and its name are needed');
    super(parts, options);
    this.#name = String(name).toWellFormed();
    this.#lastModified = options?.lastModified === undefined ? Date.now() : Math.trunc(Number(options.lastModified)) || 0;
  }

  get name() { return this.#name; }
  get lastModified() { return this.#lastModified; }
}

describeClass(Blob, ['size', 'type', 'slice', 'text', 'arrayBuffer', 'bytes', 'stream']);
describeClass(File, ['name', 'lastModified']);

function endingsOf(options) {
  const endings = options?.endings ?? 'transparent';
  if (endings !== 'transparent' && endings !== 'native') throw new TypeError(`Blob: endings: "${endings}"; "transparent" and "native" are right`);
  return endings;
}

// What has characters that no type has is none.
function typeOf(type) {
  const text = type === undefined ? '' : String(type);
  return /^[\x20-\x7e]*$/.test(text) ? text.toLowerCase() : '';
}

function clamp(position, size) {
  const at = Math.trunc(Number(position)) || 0;
  return at < 0 ? Math.max(size + at, 0) : Math.min(at, size);
}

function partBytes(part, isNative) {
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  if (part instanceof Blob) return bytesOf(part);
  const text = String(part);
  return utf8Encode(isNative ? text.replace(/\r\n?/g, '\n') : text);
}

export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

registerBodyKind((value) => value instanceof Blob, (blob) => ({ bytes: bytesOf(blob), type: blob.type || null }));
readers.blob = (whole, owner) => new Blob([whole], { type: owner.headers.get('content-type') ?? '' });

define({ Blob, File });
export { Blob, File, bytesOf };
