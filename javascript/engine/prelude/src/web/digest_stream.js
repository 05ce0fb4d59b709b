// crypto.DigestStream (of Cloudflare): what is written to it is hashed, and kept by nobody.
import { describeClass } from '../define.js';
import { utf8Encode } from '../host.js';
import { bytesOf, digestName } from './algorithms.js';
import { Digesting } from './digesting.js';
import { WritableStream } from './streams.js';

class DigestStream extends WritableStream {
  #written;
  #digest;

  constructor(algorithm) {
    const digesting = new Digesting(digestName(algorithm));
    const { promise, resolve, reject } = Promise.withResolvers();
    promise.catch(() => {}); // nobody has to look at it
    const written = { bytes: 0 };
    super({
      async write(chunk, controller) {
        try {
          const bytes = typeof chunk === 'string' ? utf8Encode(chunk) : bytesOf(chunk, 'DigestStream');
          written.bytes += bytes.byteLength;
          await digesting.update(bytes);
        } catch (error) {
          reject(error);
          controller.error(error);
          await digesting.abort();
        }
      },
      async close() {
        try {
          resolve((await digesting.end()).buffer);
        } catch (error) {
          reject(error);
          throw error;
        }
      },
      async abort(reason) {
        reject(reason);
        await digesting.abort();
      },
    });
    this.#written = written;
    this.#digest = promise;
  }

  get digest() { return this.#digest; }
  get bytesWritten() { return BigInt(this.#written.bytes); }
}

describeClass(DigestStream, ['digest', 'bytesWritten']);
export { DigestStream };
