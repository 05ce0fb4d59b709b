// `node:crypto`: hashes and what is random. The host computes a hash when its digest is asked for, and the worker stands still
// meanwhile: so it is an operation, and none at the top level.
import { fillRandom, wait } from '../../host.js';
import { Buffer } from './buffer.js';

const HASHES = { sha1: 'SHA-1', sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512', md5: 'MD5' };
export const getHashes = () => Object.keys(HASHES);
export const { crypto: webcrypto } = globalThis;
export const { subtle } = webcrypto;
export const getRandomValues = (view) => webcrypto.getRandomValues(view);
export const randomUUID = () => webcrypto.randomUUID();
export const constants = {};

function hashOf(name) {
  const found = HASHES[String(name).toLowerCase().replace(/^rsa-/, '').replace(/^sha-/, 'sha')];
  if (!found) throw Object.assign(new Error(`Digest method not supported: ${name}`), { code: 'ERR_CRYPTO_INVALID_DIGEST' });
  return found;
}

function bytesOf(data, encoding = 'utf8') {
  if (typeof data === 'string') return Buffer.from(data, encoding);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof CryptoKey) throw new TypeError('A CryptoKey is for crypto.subtle; give the key\'s bytes.');
  throw Object.assign(new TypeError('The data is a string, a Buffer, a typed array or a DataView.'), { code: 'ERR_INVALID_ARG_TYPE' });
}

// Of Buffer's bytes, which may be a view, an array of their own.
const forHost = (buffer) => new Uint8Array(buffer);
const shown = (bytes, encoding) => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return encoding === undefined || encoding === 'buffer' ? buffer : buffer.toString(encoding);
};

// What createHash and createHmac have in common: pieces, until `finish` is called with all of them.
class Collected {
  #pieces;
  #finish;
  #isDone = false;

  constructor(finish, pieces = []) {
    this.#finish = finish;
    this.#pieces = pieces;
  }

  update(data, encoding) {
    if (this.#isDone) throw Object.assign(new Error('Digest already called'), { code: 'ERR_CRYPTO_HASH_FINALIZED' });
    this.#pieces.push(Buffer.from(bytesOf(data, encoding))); // a copy: it may change until the end
    return this;
  }

  digest(encoding) {
    if (this.#isDone) throw Object.assign(new Error('Digest already called'), { code: 'ERR_CRYPTO_HASH_FINALIZED' });
    this.#isDone = true;
    return shown(this.#finish(forHost(Buffer.concat(this.#pieces))), encoding);
  }

  copy() { return new Collected(this.#finish, [...this.#pieces]); }
}

export function createHash(algorithm) {
  const name = hashOf(algorithm);
  return new Collected((data) => wait('crypto.digest', null, name, data));
}

export const hash = (algorithm, data, encoding = 'hex') => createHash(algorithm).update(data).digest(encoding);

export function createHmac(algorithm, key) {
  const told = { name: 'HMAC', hash: hashOf(algorithm) };
  const material = forHost(bytesOf(key));
  return new Collected((data) => wait('crypto.sign', null, told, material, data));
}

export function timingSafeEqual(one, other) {
  const left = bytesOf(one), right = bytesOf(other);
  if (left.length === right.length) return subtle.timingSafeEqual(left, right);
  throw Object.assign(new RangeError('Input buffers must have the same byte length'), { code: 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH' });
}

// 65,536 bytes at once are what the host gives.
export function randomFillSync(view, offset = 0, size = undefined) {
  const bytes = view instanceof ArrayBuffer ? new Uint8Array(view) : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const end = size === undefined ? bytes.length : offset + size;
  for (let at = offset; at < end; at += 65536) fillRandom(bytes.subarray(at, Math.min(end, at + 65536)));
  return view;
}

const later = (callback, make) => {
  if (typeof callback !== 'function') return make();
  let made;
  try {
    made = [null, make()];
  } catch (error) {
    made = [error];
  }
  queueMicrotask(() => callback(...made));
  return undefined;
};

export const randomBytes = (size, callback) => later(callback, () => randomFillSync(Buffer.alloc(size)));
export const randomFill = (view, ...given) => later(given.pop(), () => randomFillSync(view, ...given));

export function randomInt(least, limit, callback) {
  if (limit === undefined || typeof limit === 'function') return randomInt(0, least, limit);
  const range = limit - least;
  if (!Number.isSafeInteger(least) || !Number.isSafeInteger(limit) || range < 1 || range > 2 ** 48) throw new RangeError('randomInt: the range is 1 to 2^48 integers');
  const most = 2 ** 48 - (2 ** 48 % range); // beyond it some numbers would be more likely
  return later(callback, () => {
    for (;;) {
      const drawn = randomBytes(6).readUIntBE(0, 6);
      if (drawn < most) return least + (drawn % range);
    }
  });
}

function derived(told, key, size) {
  return shown(wait('crypto.derive_bits', null, told, forHost(bytesOf(key)), 8 * size));
}

export function pbkdf2Sync(password, salt, iterations, size, digest) {
  return derived({ name: 'PBKDF2', hash: hashOf(digest), salt: forHost(bytesOf(salt)), iterations }, password, size);
}

export function hkdfSync(digest, key, salt, info, size) {
  const { buffer, byteOffset } = derived({ name: 'HKDF', hash: hashOf(digest), salt: forHost(bytesOf(salt)), info: forHost(bytesOf(info)) }, key, size);
  return buffer.slice(byteOffset, byteOffset + size);
}

export const pbkdf2 = (...given) => later(given.pop(), () => pbkdf2Sync(...given));
export const hkdf = (...given) => later(given.pop(), () => hkdfSync(...given));

export default {
  getHashes, webcrypto, subtle, getRandomValues, randomUUID, constants, createHash, hash, createHmac, timingSafeEqual,
  randomFillSync, randomBytes, randomFill, randomInt, pbkdf2Sync, hkdfSync, pbkdf2, hkdf,
};
