// `node:querystring`
import { utf8Decode } from '../../host.js';

// As encodeURIComponent, of half surrogates too.
export const escape = (text) => encodeURIComponent(String(text).toWellFormed());

// What is no escape stays as it is, and bytes that are no UTF-8 become U+FFFD.
export function unescape(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => utf8Decode(Uint8Array.from(run.slice(1).split('%'), (hex) => parseInt(hex, 16)), false));
  }
}

function piece(value) {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  return typeof value === 'bigint' || typeof value === 'boolean' ? String(value) : '';
}

export function stringify(values, separator = '&', equals = '=', options = {}) {
  if (values === null || typeof values !== 'object') return '';
  const encode = options?.encodeURIComponent ?? escape;
  const pair = (name, value) => `${encode(piece(name))}${equals}${encode(piece(value))}`;
  return Object.keys(values)
    .flatMap((name) => (Array.isArray(values[name]) ? values[name].map((value) => pair(name, value)) : [pair(name, values[name])]))
    .join(separator);
}

export function parse(text, separator = '&', equals = '=', options = {}) {
  const found = Object.create(null);
  if (typeof text !== 'string' || text === '') return found;
  const decode = options?.decodeURIComponent ?? unescape;
  const most = options?.maxKeys ?? 1000;
  const pairs = text.split(separator || '&').filter((part) => part !== '');
  for (const part of most > 0 ? pairs.slice(0, most) : pairs) {
    const plain = part.replaceAll('+', ' ');
    const at = plain.indexOf(equals || '=');
    const name = decode(at < 0 ? plain : plain.slice(0, at));
    const value = at < 0 ? '' : decode(plain.slice(at + (equals || '=').length));
    if (!(name in found)) found[name] = value;
    else if (Array.isArray(found[name])) found[name].push(value);
    else found[name] = [found[name], value];
  }
  return found;
}

export { parse as decode, stringify as encode };
export default { parse, stringify, escape, unescape, decode: parse, encode: stringify };
