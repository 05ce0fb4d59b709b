// `node:string_decoder`: bytes in pieces → text, without a character that is cut in two.
import { Buffer } from './buffer.js';

// Of each of these, so many bytes make whole characters.
const UNITS = { base64: 3, base64url: 3, hex: 1, latin1: 1, binary: 1, ascii: 1 };
const LABELS = { utf8: 'utf-8', 'utf-8': 'utf-8', utf16le: 'utf-16le', 'utf-16le': 'utf-16le', ucs2: 'utf-16le', 'ucs-2': 'utf-16le' };

export class StringDecoder {
  #decoder;
  #unit;
  #rest = Buffer.alloc(0);

  constructor(encoding = 'utf8') {
    const name = String(encoding).toLowerCase();
    if (!(name in LABELS) && !(name in UNITS)) throw new TypeError(`Unknown encoding: ${encoding}`);
    this.encoding = name in LABELS ? LABELS[name].replace('utf-8', 'utf8').replace('-', '') : name;
    this.#unit = UNITS[name];
    this.#decoder = name in LABELS ? new TextDecoder(LABELS[name], { ignoreBOM: true }) : null;
  }

  write(given) {
    if (typeof given === 'string') return given;
    if (this.#decoder) return this.#decoder.decode(given, { stream: true });
    const bytes = Buffer.concat([this.#rest, new Uint8Array(given.buffer, given.byteOffset, given.byteLength)]);
    const whole = bytes.length - (bytes.length % this.#unit);
    this.#rest = bytes.subarray(whole);
    return bytes.toString(this.encoding, 0, whole);
  }

  end(given = undefined) {
    const text = given === undefined ? '' : this.write(given);
    if (this.#decoder) return text + this.#decoder.decode();
    const rest = this.#rest.toString(this.encoding);
    this.#rest = Buffer.alloc(0);
    return text + rest;
  }
}

export default { StringDecoder };
