// SubtleCrypto (Web Cryptography API): operations of the host; keys travel with each of them.
import { define, describeClass } from '../define.js';
import { operation, utf8Decode, utf8Encode } from '../host.js';
import { bytesOf, digestName, fail, forHost, normalized } from './algorithms.js';
import { publicFor, usable } from './crypto_key.js';
import { MOST_BYTES, digestOf } from './digesting.js';
import { exportKey, generateKey, importKey } from './key_formats.js';

// What the host refuses is, in the words of the standard, an OperationError.
async function asked(name, ...values) {
  try {
    return await operation(name, null, ...values);
  } catch (error) {
    throw error.code === 'invalid_argument' || error instanceof RangeError ? fail('OperationError', error.message) : error;
  }
}

const OURS = Symbol('ours');

class SubtleCrypto {
  constructor(key) {
    if (key !== OURS) throw new TypeError('Illegal constructor');
  }

  async digest(algorithm, data) {
    const name = digestName(algorithm), bytes = bytesOf(data, 'digest');
    return (await (bytes.length > MOST_BYTES ? digestOf(name, null, bytes) : asked('crypto.digest', name, bytes))).buffer;
  }

  async sign(algorithm, key, data) {
    const given = normalized(algorithm), material = usable(key, 'sign', given.name);
    const signed = bytesOf(data, 'sign');
    if (isLongMac(given, signed)) return (await digestOf(key.algorithm.hash.name, material, signed)).buffer;
    return (await asked('crypto.sign', forHost(given, key), material, signed)).buffer;
  }

  async verify(algorithm, key, signature, data) {
    const given = normalized(algorithm), material = usable(key, 'verify', given.name);
    const bytes = bytesOf(signature, 'signature');
    if (bytes.length > 1024) return false;
    const signed = bytesOf(data, 'verify');
    if (isLongMac(given, signed)) return areSame(bytes, await digestOf(key.algorithm.hash.name, material, signed));
    return asked('crypto.verify', forHost(given, key), material, bytes, signed);
  }

  async encrypt(algorithm, key, data) {
    return encrypt('encrypt', algorithm, key, bytesOf(data, 'encrypt'));
  }

  async decrypt(algorithm, key, data) {
    return decrypt('decrypt', algorithm, key, bytesOf(data, 'decrypt'));
  }

  async deriveBits(algorithm, key, length = null) {
    return derive('deriveBits', algorithm, key, length);
  }

  async deriveKey(algorithm, key, wanted, extractable, usages) {
    const target = normalized(wanted);
    const bits = target.name.startsWith('AES') ? target.length
      : target.name === 'HMAC' ? target.length ?? (/SHA-(384|512)/.test(normalized(target.hash).name) ? 1024 : 512) : null;
    return importKey('raw', await derive('deriveKey', algorithm, key, bits), target, extractable, usages);
  }

  async importKey(format, data, algorithm, extractable, usages) { return importKey(format, data, algorithm, extractable, usages); }
  async exportKey(format, key) { return exportKey(format, key); }
  async generateKey(algorithm, extractable, usages) { return generateKey(algorithm, extractable, usages); }

  async wrapKey(format, key, wrapping, algorithm) {
    const exported = await exportKey(format, key);
    const bytes = format === 'jwk' ? utf8Encode(JSON.stringify(exported)) : new Uint8Array(exported);
    return encrypt('wrapKey', algorithm, wrapping, bytes);
  }

  async unwrapKey(format, data, unwrapping, algorithm, keyAlgorithm, extractable, usages) {
    const bytes = new Uint8Array(await decrypt('unwrapKey', algorithm, unwrapping, bytesOf(data, 'unwrapKey')));
    return importKey(format, format === 'jwk' ? JSON.parse(utf8Decode(bytes, true)) : bytes, keyAlgorithm, extractable, usages);
  }

  // Of Cloudflare: how long it takes says nothing of where the two differ.
  timingSafeEqual(one, other) {
    const left = bytesOf(one, 'timingSafeEqual'), right = bytesOf(other, 'timingSafeEqual');
    if (left.length !== right.length) throw new TypeError('Input buffers must have the same byte length');
    return areSame(left, right);
  }
}

const isLongMac = ({ name }, bytes) => name === 'HMAC' && bytes.length > MOST_BYTES;

function areSame(left, right) {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let at = 0; at < left.length; at++) difference |= left[at] ^ right[at];
  return difference === 0;
}

async function encrypt(usage, algorithm, key, bytes) {
  const given = normalized(algorithm), material = usable(key, usage, given.name);
  return (await asked('crypto.encrypt', forHost(given, key), material, bytes)).buffer;
}

async function decrypt(usage, algorithm, key, bytes) {
  const given = normalized(algorithm), material = usable(key, usage, given.name);
  const opened = await asked('crypto.decrypt', forHost(given, key), material, bytes);
  if (opened === null) throw fail('OperationError', 'Decryption failed. This could be due to a ciphertext authentication failure, bad padding, incorrect CryptoKey, or another algorithm-specific reason.');
  return opened.buffer;
}

async function derive(usage, algorithm, key, length) {
  const given = normalized(algorithm), material = usable(key, usage, given.name);
  if (given.name === 'ECDH' || given.name === 'X25519') return agree(given, key, material, length ?? 0);
  const told = forHost(given, key);
  if (!length || length % 8) throw fail('OperationError', `${given.name}: a length in bits, a multiple of 8, is needed.`);
  if (given.name === 'PBKDF2' && told.iterations > 100000) {
    throw fail('NotSupportedError', `Pbkdf2 failed: iteration counts above 100000 are not supported (requested ${told.iterations}).`);
  }
  return (await asked('crypto.derive_bits', told, material, length)).buffer;
}

// Bits of a last byte that were not asked for are zero.
async function agree({ name, public: other }, key, material, length) {
  const told = { name, public: publicFor(other, key) };
  const bits = await asked('crypto.derive_bits', told, material, Math.ceil(length / 8) * 8);
  if (length % 8) bits[bits.length - 1] &= 0xff << (8 - (length % 8));
  return bits.buffer;
}

describeClass(SubtleCrypto, [
  'digest', 'sign', 'verify', 'encrypt', 'decrypt', 'deriveBits', 'deriveKey', 'importKey', 'exportKey', 'generateKey', 'wrapKey', 'unwrapKey', 'timingSafeEqual',
]);
define({ SubtleCrypto });

export const subtle = new SubtleCrypto(OURS);
