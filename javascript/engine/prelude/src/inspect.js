// Values as text, for the log: strings as they are, objects as one would write them, errors with where they come from.
import { frames, isError, titleOf } from './errors.js';

const DEPTH = 4;
const ITEMS = 100;
const TEXT = 10_000;
// Of an AggregateError; each may have a trace, a cause, and errors of its own.
const ERRORS = 8;

export function format(values) {
  if (typeof values[0] === 'string' && values[0].includes('%')) values = substitute(values);
  return values.map((value) => (typeof value === 'string' ? value : inspect(value))).join(' ');
}

// printf's few letters, as the Console Standard has them
function substitute([first, ...rest]) {
  const text = first.replace(/%[sdifoOcj%]/g, (letter) => {
    if (letter === '%%') return '%';
    if (!rest.length) return letter;
    const value = rest.shift();
    switch (letter) {
      case '%s': return typeof value === 'string' ? value : inspect(value);
      case '%d': return String(typeof value === 'symbol' ? NaN : Number(value));
      case '%i': return String(typeof value === 'symbol' ? NaN : Number.parseInt(value, 10));
      case '%f': return String(typeof value === 'symbol' ? NaN : Number.parseFloat(value));
      case '%j': return JSON.stringify(value);
      case '%c': return '';
      default: return inspect(value);
    }
  });
  return [text, ...rest];
}

export function inspect(value, depth = 0, above = []) {
  switch (typeof value) {
    case 'string': return depth ? quote(value) : value;
    case 'bigint': return `${value}n`;
    case 'symbol': return value.toString();
    case 'function': return `[${/^class\b/.test(Function.prototype.toString.call(value)) ? 'class' : 'Function'}: ${value.name || '(anonymous)'}]`;
    case 'object': break;
    default: return Object.is(value, -0) ? '-0' : String(value);
  }
  if (value === null) return 'null';
  if (above.includes(value)) return '[Circular]';
  try {
    return inspectObject(value, depth, [...above, value]);
  } catch (error) {
    return `[an object that can't be shown: ${isError(error) ? error.message : error}]`;
  }
}

// `TypeError: message`, then where; its cause and the errors that it gathers below it.
function inspectError(error, depth, above) {
  const lines = [titleOf(error), ...frames(error)];
  if (depth >= DEPTH) return lines.join('\n');
  const inner = (item) => (isError(item) && !above.includes(item) ? inspectError(item, depth + 1, [...above, item]) : inspect(item, depth + 1, above));
  if (error.cause !== undefined) lines.push(`  [cause]: ${inner(error.cause)}`);
  if (Array.isArray(error.errors)) {
    lines.push(...error.errors.slice(0, ERRORS).map((item, at) => `  [errors.${at}]: ${inner(item)}`));
    if (error.errors.length > ERRORS) lines.push(`  … ${error.errors.length - ERRORS} more errors`);
  }
  return lines.join('\n');
}

// The first line of what was thrown.
export const header = (value) => (isError(value) ? titleOf(value) : inspect(value));

function quote(text) {
  const cut = text.length > TEXT ? `${text.slice(0, TEXT)}…` : text;
  return cut.includes("'") ? JSON.stringify(cut) : `'${JSON.stringify(cut).slice(1, -1).replaceAll('\\"', '"')}'`;
}

function inspectObject(value, depth, above) {
  if (isError(value)) {
    const text = inspectError(value, depth, above);
    return depth ? `[${text}]` : text;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (value instanceof Promise) return 'Promise {}';
  const name = nameOf(value);
  if (depth >= DEPTH) return Array.isArray(value) ? '[Array]' : `[${name || 'Object'}]`;
  const inner = (item) => inspect(item, depth + 1, above);
  if (Array.isArray(value)) return list('[', limited(value, inner), ']');
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${name}(${value.length}) ${list('[', limited(value, inner), ']')}`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
  if (value instanceof Map) return `Map(${value.size}) ${list('{', limited([...value], ([key, item]) => `${inner(key)} => ${inner(item)}`), '}')}`;
  if (value instanceof Set) return `Set(${value.size}) ${list('{', limited([...value], inner), '}')}`;
  if (value instanceof URL) return value.href;
  const own = typeof value[Symbol.iterator] === 'function' && typeof value.entries === 'function'
    ? limited([...value.entries()], ([key, item]) => `${inner(key)} => ${inner(item)}`)
    : limited(Object.keys(value), (key) => `${/^[\w$]+$/.test(key) ? key : quote(key)}: ${inner(value[key])}`);
  return (name && name !== 'Object' ? `${name} ` : '') + list('{', own, '}');
}

function nameOf(value) {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null ? '[Object: null prototype]' : prototype.constructor?.name ?? '';
}

function limited(items, each) {
  const shown = Array.prototype.map.call(Array.prototype.slice.call(items, 0, ITEMS), each);
  if (items.length > ITEMS) shown.push(`… ${items.length - ITEMS} more`);
  return shown;
}

function list(open, items, close) {
  if (!items.length) return open + close;
  const line = items.join(', ');
  const space = open === '[' ? '' : ' ';
  return line.length <= 100 && !line.includes('\n')
    ? `${open}${space || ' '}${line} ${close}`
    : `${open}\n  ${items.map((item) => item.replaceAll('\n', '\n  ')).join(',\n  ')}\n${close}`;
}
