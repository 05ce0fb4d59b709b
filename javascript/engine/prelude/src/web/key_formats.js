// importKey, exportKey and generateKey.
import { fillRandom, operation } from '../host.js';
import { SYMMETRIC, USAGES, bytesOf, curveOf, fail, hashOf, normalized } from './algorithms.js';
import { CryptoKey, makeKey, materialOf } from './crypto_key.js';

const HMAC_BITS = { 'SHA-1': 512, 'SHA-256': 512, 'SHA-384': 1024, 'SHA-512': 1024 };
const isSecret = (name) => SYMMETRIC.includes(name) || name === 'PBKDF2' || name === 'HKDF';

function usagesOf(name, isPublic, usages) {
  const given = Array.from(usages, String);
  const right = USAGES[name]?.[isPublic ? 1 : 0];
  if (!right) throw fail('NotSupportedError', `${name} has no keys.`);
  const wrong = given.find((usage) => !right.includes(usage));
  if (wrong !== undefined) throw fail('SyntaxError', `A key of ${name} can't be used for "${wrong}"${right.length ? `; ${right.join(', ')} are right` : ''}.`);
  if (!given.length && !isPublic) throw fail('SyntaxError', 'A secret or private key needs a usage.');
  return given;
}

// What a key of `size` bytes says of itself.
function secretAlgorithm(algorithm, size) {
  const { name } = algorithm;
  if (name === 'HMAC') return { name, hash: { name: hashOf(algorithm) }, length: 8 * size };
  if (!name.startsWith('AES')) return { name };
  if (![16, 24, 32].includes(size)) throw fail('DataError', `${name}: a key of ${8 * size} bits; 128, 192 and 256 are right.`);
  return { name, length: 8 * size };
}

function pairAlgorithm(algorithm, told) {
  const { name } = algorithm;
  if (name === 'ECDSA' || name === 'ECDH') return { name, namedCurve: curveOf(algorithm) };
  if (isOfBytes(name)) return { name };
  return { name, hash: { name: hashOf(algorithm) }, modulusLength: told.modulus_length, publicExponent: told.public_exponent };
}

const isOfBytes = (name) => name === 'Ed25519' || name === 'X25519';
const namesCurve = ({ name }) => name === 'ECDSA' || name === 'ECDH';

export async function importKey(format, data, given, extractable, usages) {
  const algorithm = normalized(given);
  const { name } = algorithm;
  if (format === 'jwk') checkJwk(data, extractable, usages);
  if (isSecret(name)) {
    const bytes = secretBytes(format, data, name);
    if (!bytes.length && name === 'HMAC') throw fail('DataError', 'HMAC: the key is empty.');
    return makeKey(bytes, 'secret', secretAlgorithm(algorithm, bytes.length), Boolean(extractable), usagesOf(name, false, usages));
  }
  usagesOf(name, true, []);
  const asked = namesCurve(algorithm) ? { name, named_curve: curveOf(algorithm) } : { name };
  const told = await orDataError(operation('crypto.import_key', null, String(format), format === 'jwk' ? textsOf(data) : bytesOf(data, 'key'), asked));
  const isPublic = told.type === 'public';
  return makeKey(told.key, told.type, pairAlgorithm(algorithm, told), Boolean(extractable), usagesOf(name, isPublic, usages));
}

// What a JWK says of how it may be used, where it says so.
function checkJwk(jwk, extractable, usages) {
  if (typeof jwk !== 'object' || jwk === null || ArrayBuffer.isView(jwk) || jwk instanceof ArrayBuffer) throw new TypeError('A JWK is an object.');
  if (jwk.ext === false && extractable) throw fail('DataError', 'The JWK says that its key is not extractable.');
  if (jwk.key_ops !== undefined && Array.from(usages, String).some((usage) => !jwk.key_ops.includes(usage))) {
    throw fail('DataError', 'The JWK\'s `key_ops` do not have each usage that is asked for.');
  }
}

function secretBytes(format, data, name) {
  if (format === 'raw') return bytesOf(data, 'key');
  if (format !== 'jwk' || name === 'PBKDF2' || name === 'HKDF') throw fail('NotSupportedError', `A key of ${name} can't be imported as "${format}".`);
  if (data?.kty !== 'oct' || typeof data.k !== 'string') throw fail('DataError', 'The JWK of a secret key has `kty` "oct", and `k`.');
  try {
    return Uint8Array.fromBase64(data.k, { alphabet: 'base64url' });
  } catch {
    throw fail('DataError', 'The JWK\'s `k` is no base64url.');
  }
}

// The members that a key is made of.
function textsOf(jwk) {
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => typeof value === 'string'));
}

async function orDataError(asked) {
  try {
    return await asked;
  } catch (error) {
    throw error.code === 'invalid_argument' ? fail('DataError', error.message) : error;
  }
}

const hashNumber = (name) => name.slice(4);

function jwkAlgorithm({ name, hash, length }) {
  switch (name) {
    case 'HMAC': return { alg: `HS${hashNumber(hash.name)}` };
    case 'AES-GCM': case 'AES-CBC': case 'AES-CTR': case 'AES-KW': return { alg: `A${length}${name.slice(4)}` };
    case 'RSASSA-PKCS1-v1_5': return { alg: `RS${hashNumber(hash.name)}` };
    case 'RSA-PSS': return { alg: `PS${hashNumber(hash.name)}` };
    case 'RSA-OAEP': return { alg: hash.name === 'SHA-1' ? 'RSA-OAEP' : `RSA-OAEP-${hashNumber(hash.name)}` };
    default: return {};
  }
}

export async function exportKey(format, key) {
  if (!(key instanceof CryptoKey)) throw new TypeError('exportKey: a CryptoKey is expected.');
  if (!key.extractable) throw fail('InvalidAccessError', 'This key is not extractable.');
  const about = { ...jwkAlgorithm(key.algorithm), key_ops: [...key.usages], ext: true };
  if (key.type === 'secret') {
    if (format === 'raw') return materialOf(key).slice().buffer;
    if (format === 'jwk') return { kty: 'oct', k: materialOf(key).toBase64({ alphabet: 'base64url', omitPadding: true }), ...about };
    throw fail('NotSupportedError', `A secret key can't be exported as "${format}".`);
  }
  try {
    const told = await operation('crypto.export_key', null, String(format), key.type, materialOf(key));
    return format === 'jwk' ? { ...told, ...about } : told.buffer;
  } catch (error) {
    throw error.code === 'invalid_argument' ? fail('InvalidAccessError', error.message) : error;
  }
}

const HASHED = ['HMAC', 'RSASSA-PKCS1-v1_5', 'RSA-PSS', 'RSA-OAEP'];

function checkUsages(name, right, usages) {
  const wrong = Array.from(usages, String).find((usage) => !right.includes(usage));
  if (wrong !== undefined) throw fail('SyntaxError', `Keys of ${name} can't be used for "${wrong}"; ${right.join(', ')} are right.`);
}

export async function generateKey(given, extractable, usages) {
  const algorithm = normalized(given);
  const { name } = algorithm;
  if (HASHED.includes(name)) hashOf(algorithm);
  if (SYMMETRIC.includes(name)) {
    checkUsages(name, USAGES[name][0], usages);
    const bits = algorithm.length ?? (name === 'HMAC' ? HMAC_BITS[hashOf(algorithm)] : undefined);
    const isRight = name === 'HMAC' ? bits > 0 && bits <= 8192 && bits % 8 === 0 : [128, 192, 256].includes(bits);
    if (!isRight) throw fail('OperationError', `${name}: a key of ${bits} bits can't be made.`);
    const facts = secretAlgorithm(algorithm, bits / 8), right = usagesOf(name, false, usages);
    return makeKey(fillRandom(new Uint8Array(bits / 8)), 'secret', facts, Boolean(extractable), right);
  }
  const [ofPrivate, ofPublic] = USAGES[name] ?? [];
  if (!ofPublic) throw fail('NotSupportedError', `Keys of ${name} can't be generated.`);
  const wanted = Array.from(usages, String);
  checkUsages(name, [...ofPrivate, ...ofPublic], usages);
  if (namesCurve(algorithm)) curveOf(algorithm);
  const asked = namesCurve(algorithm)
    ? { name, named_curve: curveOf(algorithm) }
    : isOfBytes(name) ? { name } : { name, modulus_length: algorithm.modulusLength, public_exponent: bytesOf(algorithm.publicExponent, 'publicExponent') };
  let told;
  try {
    told = await operation('crypto.generate_key', null, asked);
  } catch (error) {
    throw error.code === 'invalid_argument' ? fail('OperationError', error.message) : error;
  }
  if (!wanted.some((usage) => ofPrivate.includes(usage))) throw fail('SyntaxError', `The private key of ${name} needs a usage: ${ofPrivate.join(', ')}.`);
  const made = (side, isExtractable, right) => makeKey(
    told[side].key, side, pairAlgorithm(algorithm, told[side]), isExtractable, wanted.filter((usage) => right.includes(usage)),
  );
  return { publicKey: made('public', true, ofPublic), privateKey: made('private', Boolean(extractable), ofPrivate) };
}
