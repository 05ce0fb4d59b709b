// `node:util`: what libraries use of it.
import { inspect as show } from '../../inspect.js';
import { isDeepStrictEqual } from './deep_equal.js';

const CUSTOM = Symbol.for('nodejs.util.promisify.custom');

export function promisify(original) {
  if (typeof original !== 'function') throw new TypeError('promisify: a function is needed');
  if (original[CUSTOM]) return original[CUSTOM];
  return function promisified(...values) {
    return new Promise((resolve, reject) => {
      original.call(this, ...values, (error, value) => (error ? reject(error) : resolve(value)));
    });
  };
}
promisify.custom = CUSTOM;

export function callbackify(original) {
  return function callbackified(...values) {
    const callback = values.pop();
    original.apply(this, values).then((value) => callback(null, value), (error) => callback(error ?? new Error('rejected without a reason')));
  };
}

export function inherits(constructor, parent) {
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

export const deprecate = (original) => original;
export const inspect = (value) => show(value);
inspect.custom = Symbol.for('nodejs.util.inspect.custom');

export function format(first, ...values) {
  if (typeof first !== 'string') return [first, ...values].map((value) => (typeof value === 'string' ? value : show(value))).join(' ');
  const text = first.replace(/%[sdifjoOc%]/g, (mark) => {
    if (mark === '%%') return '%';
    if (!values.length) return mark;
    const value = values.shift();
    switch (mark) {
      case '%s': return typeof value === 'string' ? value : typeof value === 'object' ? show(value) : String(value);
      case '%d': return String(Number(value));
      case '%i': return String(parseInt(value, 10));
      case '%f': return String(parseFloat(value));
      case '%j': return JSON.stringify(value);
      case '%c': return '';
      default: return show(value);
    }
  });
  return [text, ...values.map((value) => (typeof value === 'string' ? value : show(value)))].join(' ');
}

export const types = {
  isAnyArrayBuffer: (value) => value instanceof ArrayBuffer,
  isArrayBuffer: (value) => value instanceof ArrayBuffer,
  isArrayBufferView: (value) => ArrayBuffer.isView(value),
  isDate: (value) => value instanceof Date,
  isMap: (value) => value instanceof Map,
  isNativeError: (value) => value instanceof Error,
  isPromise: (value) => value instanceof Promise,
  isRegExp: (value) => value instanceof RegExp,
  isSet: (value) => value instanceof Set,
  isTypedArray: (value) => ArrayBuffer.isView(value) && !(value instanceof DataView),
  isUint8Array: (value) => value instanceof Uint8Array,
};

export const { TextDecoder, TextEncoder } = globalThis;
export { isDeepStrictEqual };
export default { promisify, callbackify, inherits, deprecate, inspect, format, types, TextDecoder, TextEncoder, isDeepStrictEqual };
