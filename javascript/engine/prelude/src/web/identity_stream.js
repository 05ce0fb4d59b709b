// IdentityTransformStream and FixedLengthStream (of Cloudflare): what is written is read, in bytes, and nothing lies
// in between: a write is done when somebody has read it.
import { define, describeClass } from '../define.js';
import { utf8Encode } from '../host.js';
import { ReadableStream, TransformStream, WritableStream } from './streams.js';

function bytesOf(chunk) {
  if (typeof chunk === 'string') return utf8Encode(chunk);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk.slice(0));
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength).slice();
  throw new TypeError('This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.');
}

// The two sides; `count(size)` is told what is written, `end()` that it is all, and either may throw.
function connected(count, end) {
  let reading, writing, wanted = Promise.withResolvers(), fulfilled = null;
  const readable = new ReadableStream({
    type: 'bytes',
    start(controller) { reading = controller; },
    pull() {
      fulfilled = Promise.withResolvers();
      wanted.resolve();
      return fulfilled.promise;
    },
    cancel(reason) {
      writing.error(reason);
      wanted.reject(reason);
    },
  }, { highWaterMark: 0 });
  wanted.promise.catch(() => {});
  const answered = () => {
    fulfilled?.resolve();
    fulfilled = null;
  };
  const fail = (error) => {
    reading.error(error);
    answered();
    throw error;
  };
  const writable = new WritableStream({
    start(controller) { writing = controller; },
    async write(chunk) {
      let bytes;
      try {
        bytes = bytesOf(chunk);
        count(bytes.byteLength);
      } catch (error) {
        fail(error);
      }
      if (!bytes.byteLength) return;
      await wanted.promise;
      wanted = Promise.withResolvers();
      wanted.promise.catch(() => {});
      reading.enqueue(bytes);
      answered();
    },
    close() {
      try {
        end();
      } catch (error) {
        fail(error);
      }
      reading.close();
      reading.byobRequest?.respond(0);
      answered();
    },
    abort(reason) {
      reading.error(reason);
      answered();
    },
  });
  return { readable, writable };
}

class IdentityTransformStream extends TransformStream {
  #sides;

  constructor(count = () => {}, end = () => {}) {
    super();
    this.#sides = connected(...(new.target === FixedLengthStream ? [count, end] : [() => {}, () => {}]));
  }

  get readable() { return this.#sides.readable; }
  get writable() { return this.#sides.writable; }
}

const lengths = new WeakMap();

class FixedLengthStream extends IdentityTransformStream {
  constructor(length) {
    const expected = Number(length);
    if (!Number.isSafeInteger(expected) || expected < 0) throw new TypeError(`FixedLengthStream: ${String(length)}: a length in bytes is right`);
    let left = expected;
    super(
      (size) => {
        if (size > left) throw new TypeError('Attempt to write too many bytes through a FixedLengthStream.');
        left -= size;
      },
      () => {
        if (left) throw new TypeError(`FixedLengthStream did not see all expected bytes before close(): ${left} are missing.`);
      },
    );
    lengths.set(this.readable, expected);
  }
}

describeClass(IdentityTransformStream, ['readable', 'writable']);
describeClass(FixedLengthStream);
define({ IdentityTransformStream, FixedLengthStream });

// How many bytes a stream will have; undefined: nobody said.
export const lengthOf = (stream) => lengths.get(stream);
