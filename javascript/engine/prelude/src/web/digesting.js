// Hashes of what comes in pieces, or is more than one operation carries.
import { operation } from '../host.js';
import { joined } from '../joined.js';

// Of one operation.
export const MOST_BYTES = 1_000_000;
const PIECE_BYTES = 262144;

// The hash `name`, or the HMAC with `key`, of pieces. Nothing is asked of the host before there is much, or all of it.
export class Digesting {
  #name;
  #key;
  #held = [];
  #size = 0;
  #into = null;
  #asked = null;

  constructor(name, key = null) {
    this.#name = name;
    this.#key = key;
  }

  // `bytes` must not change until the end.
  async update(bytes) {
    this.#held.push(bytes);
    this.#size += bytes.byteLength;
    if (this.#size >= PIECE_BYTES) await this.#send();
  }

  async end() {
    if (this.#into === null && this.#key === null) return operation('crypto.digest', null, this.#name, this.#taken());
    await this.#send();
    await operation('stream.end', null, this.#into);
    return this.#asked;
  }

  async abort() {
    if (this.#into !== null) await operation('stream.close', null, this.#into).catch(() => {});
  }

  async #send() {
    if (this.#into === null) {
      this.#into = await operation('stream.open', null);
      this.#asked = operation('crypto.digest_stream', null, this.#name, this.#key, this.#into);
      this.#asked.catch(() => {}); // whoever waits for the end is told
    }
    const bytes = this.#taken();
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      await operation('stream.write', null, this.#into, bytes.subarray(at, at + PIECE_BYTES));
    }
  }

  #taken() {
    const held = this.#held, size = this.#size;
    this.#held = [];
    this.#size = 0;
    return joined(held, size);
  }
}

export async function digestOf(name, key, bytes) {
  const digesting = new Digesting(name, key);
  try {
    await digesting.update(bytes);
    return await digesting.end();
  } catch (error) {
    await digesting.abort();
    throw error;
  }
}
