// CryptoKey: what a key is for, and its bytes, which no script gets at but through exportKey.
import { define, describeClass } from '../define.js';
import { fail } from './algorithms.js';

const OURS = Symbol('ours');
let materialOf;

class CryptoKey {
  #material;
  #facts;

  static {
    materialOf = (key) => key.#material;
  }

  constructor(ours, material, facts) {
    if (ours !== OURS) throw new TypeError('Illegal constructor');
    this.#material = material;
    this.#facts = facts;
  }

  get type() { return this.#facts.type; }
  get extractable() { return this.#facts.extractable; }
  get algorithm() { return this.#facts.algorithm; }
  get usages() { return this.#facts.usages; }
}

describeClass(CryptoKey, ['type', 'extractable', 'algorithm', 'usages']);
define({ CryptoKey });

export function makeKey(material, type, algorithm, extractable, usages) {
  return new CryptoKey(OURS, material, { type, extractable, algorithm: Object.freeze(algorithm), usages: Object.freeze([...new Set(usages)]) });
}

// The bytes of a key that may be used so, with an algorithm of this name.
export function usable(key, usage, name) {
  if (!(key instanceof CryptoKey)) throw new TypeError('A CryptoKey is expected.');
  if (key.algorithm.name !== name) throw fail('InvalidAccessError', `This key is one of ${key.algorithm.name}, not of ${name}.`);
  if (!key.usages.includes(usage)) throw fail('InvalidAccessError', `This key's usages do not include "${usage}".`);
  return materialOf(key);
}

// The bytes of the other side's key, for an agreement with `key`.
export function publicFor(other, key) {
  if (!(other instanceof CryptoKey)) throw new TypeError('`public` is a CryptoKey.');
  const { name, namedCurve } = key.algorithm;
  if (other.type !== 'public' || other.algorithm.name !== name || other.algorithm.namedCurve !== namedCurve) {
    throw fail('InvalidAccessError', `\`public\` is a public key of ${name}${namedCurve ? ` on ${namedCurve}` : ''}.`);
  }
  return materialOf(other);
}

export { CryptoKey, materialOf };
