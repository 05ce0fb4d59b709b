// CompressionStream and DecompressionStream (Compression Standard): streams of the host's, which computes as it is read.
import { define, describeClass } from '../define.js';
import { operation } from '../host.js';
import { ReadableStream, WritableStream } from './streams.js';

const FORMATS = ['gzip', 'deflate', 'deflate-raw'];
const READ_BYTES = 65536;
const WRITE_BYTES = 262144;

function bytesOf(chunk) {
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError('A compression stream takes an ArrayBuffer, or a view of one.');
}

async function told(asked) {
  try {
    return await asked;
  } catch (error) {
    throw error.code === 'closed_stream' ? new TypeError(error.message.replace(/^stream\.\w+: /, '')) : error;
  }
}

// The two sides of the operation `name`; nothing is asked of the host before somebody reads or writes.
function sides(name, format) {
  let opening, reading, writing;
  const open = () => {
    opening ??= (async () => {
      const into = await operation('stream.open', null);
      return { into, from: await operation(name, null, format, into) };
    })();
    return opening;
  };
  const readable = new ReadableStream({
    type: 'bytes',
    start(controller) { reading = controller; },
    async pull(controller) {
      let part;
      try {
        part = await told(operation('stream.read', null, (await open()).from, READ_BYTES));
      } catch (error) {
        writing.error(error);
        throw error;
      }
      if (part !== null) {
        controller.enqueue(part);
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    async cancel(reason) {
      writing.error(reason);
      if (opening) await operation('stream.close', null, (await opening).from).catch(() => {});
    },
  }, { highWaterMark: 0 });
  const writable = new WritableStream({
    start(controller) { writing = controller; },
    async write(chunk) {
      let bytes;
      try {
        bytes = bytesOf(chunk);
      } catch (error) {
        reading.error(error);
        throw error;
      }
      const { into } = await open();
      for (let at = 0; at < bytes.byteLength; at += WRITE_BYTES) {
        await told(operation('stream.write', null, into, bytes.subarray(at, at + WRITE_BYTES)));
      }
    },
    async close() { await told(operation('stream.end', null, (await open()).into)); },
    async abort(reason) {
      reading.error(reason);
      if (opening) await operation('stream.close', null, (await opening).into).catch(() => {});
    },
  });
  return { readable, writable };
}

function checked(name, format) {
  if (!FORMATS.includes(format)) throw new TypeError(`${name}: the formats ${FORMATS.join(', ')} are right.`);
  return format;
}

class CompressionStream {
  #sides;
  constructor(format) { this.#sides = sides('compression.compress', checked('CompressionStream', format)); }
  get readable() { return this.#sides.readable; }
  get writable() { return this.#sides.writable; }
}

class DecompressionStream {
  #sides;
  constructor(format) { this.#sides = sides('compression.decompress', checked('DecompressionStream', format)); }
  get readable() { return this.#sides.readable; }
  get writable() { return this.#sides.writable; }
}

describeClass(CompressionStream, ['readable', 'writable']);
describeClass(DecompressionStream, ['readable', 'writable']);
define({ CompressionStream, DecompressionStream });
