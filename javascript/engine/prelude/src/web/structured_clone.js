// structuredClone (HTML Standard): by hand, since what can't be copied has to be told apart from what can.
import { define } from '../define.js';
import { Blob, File } from './blob.js';

const WRAPPERS = [Boolean, Number, String, BigInt];
const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
// Of the platform's and the language's, with insides that are no properties.
const OPAQUE = [
  'Promise', 'WeakMap', 'WeakSet', 'WeakRef', 'FinalizationRegistry', 'SharedArrayBuffer', 'EventTarget', 'Event', 'Headers', 'Request', 'Response',
  'URL', 'URLSearchParams', 'URLPattern', 'FormData', 'ReadableStream', 'WritableStream', 'TransformStream', 'TextEncoder', 'TextDecoder', 'AbortController',
  'CryptoKey', 'Crypto', 'SubtleCrypto', 'Cache', 'CacheStorage', 'CompressionStream', 'DecompressionStream',
];

const refused = (value) => new DOMException(`${typeof value === 'symbol' ? 'A symbol' : typeof value === 'function' ? 'A function' : Object.prototype.toString.call(value)} could not be cloned.`, 'DataCloneError');

function isOpaque(value) {
  return OPAQUE.some((name) => typeof globalThis[name] === 'function' && value instanceof globalThis[name]);
}

function copy(value, seen) {
  if (typeof value === 'symbol' || typeof value === 'function') throw refused(value);
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const keep = (made) => {
    seen.set(value, made);
    return made;
  };
  if (WRAPPERS.some((wrapper) => value instanceof wrapper)) return keep(Object(value.valueOf()));
  if (value instanceof Date) return keep(new Date(value.getTime()));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof ArrayBuffer) {
    if (value.detached) throw refused(value);
    return keep(value.resizable ? resizable(value) : value.slice(0));
  }
  if (ArrayBuffer.isView(value)) return keep(view(value, copy(value.buffer, seen)));
  if (value instanceof Map) {
    const made = keep(new Map());
    for (const [key, item] of [...value]) made.set(copy(key, seen), copy(item, seen));
    return made;
  }
  if (value instanceof Set) {
    const made = keep(new Set());
    for (const item of [...value]) made.add(copy(item, seen));
    return made;
  }
  if (value instanceof DOMException) return keep(new DOMException(value.message, value.name));
  if (value instanceof Error) return error(value, seen, keep);
  if (value instanceof File) return keep(new File([value], value.name, { type: value.type, lastModified: value.lastModified }));
  if (value instanceof Blob) return keep(value.slice(0, value.size, value.type));
  if (isOpaque(value)) throw refused(value);
  const made = keep(Array.isArray(value) ? new Array(value.length) : {});
  for (const key of Object.keys(value)) {
    Object.defineProperty(made, key, { value: copy(value[key], seen), writable: true, enumerable: true, configurable: true });
  }
  return made;
}

function resizable(buffer) {
  const made = new ArrayBuffer(buffer.byteLength, { maxByteLength: buffer.maxByteLength });
  new Uint8Array(made).set(new Uint8Array(buffer));
  return made;
}

function view(value, buffer) {
  if (value instanceof DataView) return new DataView(buffer, value.byteOffset, value.byteLength);
  const name = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get.call(value);
  return new globalThis[name](buffer, value.byteOffset, value.length);
}

function error(value, seen, keep) {
  const made = keep(new (ERRORS[value.name] ?? Error)());
  const members = { stack: value.stack };
  if (Object.hasOwn(value, 'message')) members.message = String(value.message);
  if (Object.hasOwn(value, 'cause')) members.cause = copy(value.cause, seen);
  for (const [name, member] of Object.entries(members)) {
    Object.defineProperty(made, name, { value: member, writable: true, configurable: true, enumerable: false });
  }
  return made;
}

function structuredClone(value, options = undefined) {
  if (arguments.length < 1) throw new TypeError('structuredClone: a value is needed.');
  const transfer = [...options?.transfer ?? []];
  for (const [at, buffer] of transfer.entries()) {
    if (!(buffer instanceof ArrayBuffer) || buffer.detached || transfer.indexOf(buffer) !== at) {
      throw new DOMException('What is transferred is an ArrayBuffer, once, that was not before.', 'DataCloneError');
    }
  }
  // They are copied, and are gone once all of it could be.
  const made = copy(value, new Map());
  for (const buffer of transfer) buffer.transfer();
  return made;
}

define({ structuredClone });
