// Algorithms of Web Crypto by their names, and what the host is told of them (docs/bindings.md, crypto.*).
const HASHES = ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512'];
const CURVES = ['P-256', 'P-384', 'P-521'];
export const SYMMETRIC = ['HMAC', 'AES-GCM', 'AES-CBC', 'AES-CTR', 'AES-KW'];

// name → which usages a key of it can have: [secret or private, public]
export const USAGES = {
  HMAC: [['sign', 'verify']],
  'AES-GCM': [['encrypt', 'decrypt', 'wrapKey', 'unwrapKey']],
  'AES-CBC': [['encrypt', 'decrypt', 'wrapKey', 'unwrapKey']],
  'AES-CTR': [['encrypt', 'decrypt', 'wrapKey', 'unwrapKey']],
  'AES-KW': [['wrapKey', 'unwrapKey']],
  PBKDF2: [['deriveKey', 'deriveBits']],
  HKDF: [['deriveKey', 'deriveBits']],
  'RSASSA-PKCS1-v1_5': [['sign'], ['verify']],
  'RSA-PSS': [['sign'], ['verify']],
  'RSA-OAEP': [['decrypt', 'unwrapKey'], ['encrypt', 'wrapKey']],
  ECDSA: [['sign'], ['verify']],
  ECDH: [['deriveKey', 'deriveBits'], []],
  Ed25519: [['sign'], ['verify']],
  X25519: [['deriveKey', 'deriveBits'], []],
};

const NAMES = new Map([...Object.keys(USAGES), ...HASHES, 'MD5'].map((name) => [name.toUpperCase(), name]));
NAMES.set('NODE-ED25519', 'Ed25519');

export const fail = (name, message) => new DOMException(message, name);

// What an algorithm may say besides its name. Read one by one, as Web IDL reads dictionaries: an object may inherit them.
const MEMBERS = [
  'additionalData', 'counter', 'hash', 'info', 'iterations', 'iv', 'label', 'length', 'modulusLength', 'name', 'namedCurve',
  'public', 'publicExponent', 'salt', 'saltLength', 'tagLength',
];

// {...given, name}: names are told apart by their letters alone.
export function normalized(given) {
  const algorithm = typeof given === 'string' ? { name: given } : members(given);
  if (typeof algorithm.name !== 'string') throw new TypeError('An algorithm is a name, or an object that has one.');
  const name = NAMES.get(algorithm.name.toUpperCase());
  if (!name) throw fail('NotSupportedError', `Unrecognized or unimplemented algorithm: "${algorithm.name}".`);
  return { ...algorithm, name };
}

function members(given) {
  const algorithm = {};
  for (const member of MEMBERS) {
    const value = given?.[member];
    if (value !== undefined) algorithm[member] = value;
  }
  return algorithm;
}

export function hashOf(algorithm) {
  if (algorithm.hash === undefined) throw new TypeError(`${algorithm.name}: a hash is needed.`);
  const { name } = normalized(algorithm.hash);
  if (!HASHES.includes(name)) throw fail('NotSupportedError', `${algorithm.name}: the hashes ${HASHES.join(', ')} are right.`);
  return name;
}

export function digestName(given) {
  const { name } = normalized(given);
  if (name === 'MD5' || HASHES.includes(name)) return name;
  throw fail('NotSupportedError', `${name} is no hash: ${HASHES.join(', ')} and MD5 are.`);
}

export function curveOf({ name, namedCurve }) {
  if (!CURVES.includes(namedCurve)) throw fail('NotSupportedError', `${name}: the curves ${CURVES.join(', ')} are right.`);
  return namedCurve;
}

export function bytesOf(value, what) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  throw new TypeError(`${what}: an ArrayBuffer or a view of one is right.`);
}

// What the host is told of an operation with `key`; undefined ones are not sent.
export function forHost(algorithm, key) {
  const { name } = key.algorithm;
  const optional = (value, what) => (value === undefined ? {} : { [what]: bytesOf(value, `${name}: ${what}`) });
  switch (name) {
    case 'HMAC': case 'RSASSA-PKCS1-v1_5': return { name, hash: key.algorithm.hash.name };
    case 'RSA-PSS': return { name, hash: key.algorithm.hash.name, salt_length: Number(algorithm.saltLength) };
    case 'RSA-OAEP': return { name, hash: key.algorithm.hash.name, ...optional(algorithm.label, 'label') };
    case 'ECDSA': return { name, hash: hashOf(algorithm) };
    case 'AES-GCM': return {
      name, iv: bytesOf(algorithm.iv, `${name}: iv`), tag_length: algorithm.tagLength ?? 128, ...optional(algorithm.additionalData, 'additional_data'),
    };
    case 'AES-CBC': return { name, iv: bytesOf(algorithm.iv, `${name}: iv`) };
    case 'AES-CTR': return { name, counter: bytesOf(algorithm.counter, `${name}: counter`), length: Number(algorithm.length) };
    case 'PBKDF2': return { name, hash: hashOf(algorithm), salt: bytesOf(algorithm.salt, `${name}: salt`), iterations: Number(algorithm.iterations) };
    case 'HKDF': return { name, hash: hashOf(algorithm), salt: bytesOf(algorithm.salt, `${name}: salt`), info: bytesOf(algorithm.info, `${name}: info`) };
    default: return { name };
  }
}
