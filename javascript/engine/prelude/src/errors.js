// Errors: those of operations, and how any of them is told.
import { framesOf } from './error_stack.js';

// What the platform refused or failed at; `code` is of docs/errors.md.
export function failure({ code, message }) {
  const error = new Error(message);
  define(error, 'code', code);
  return error;
}

function define(error, name, value) {
  Object.defineProperty(error, name, { value, writable: true, configurable: true, enumerable: false });
}

const FRAME = /^\s*at /;
const OURS = /\btenantry:prelude\b|\(native\)$/;
const PLACE = /\(?([^()\s]+):(\d+):(\d+)\)?$/;

// The tenant's own lines of a stack; the platform's say nothing to anybody who did not write it.
function frames(error) {
  const stack = isError(error) ? framesOf(error) : '';
  return typeof stack !== 'string' ? [] : stack.split('\n').filter((line) => FRAME.test(line) && !OURS.test(line));
}

// `TypeError: message`, then where; the cause below it.
export function show(error, depth = 0) {
  if (!isError(error)) return `${typeof error === 'string' ? error : safely(error)}`;
  const lines = [header(error), ...frames(error)];
  if (error.cause !== undefined && depth < 4) lines.push(`  [cause]: ${show(error.cause, depth + 1)}`);
  return lines.join('\n');
}

export function header(error) {
  if (!isError(error)) return safely(error);
  const name = safely(error.name) || 'Error';
  const message = safely(error.message);
  return message ? `${name}: ${message}` : name;
}

export function isError(value) {
  return value instanceof Error || (typeof value === 'object' && value !== null && 'stack' in value && 'message' in value);
}

function safely(value) {
  try {
    return String(value);
  } catch {
    return 'a value that has no text';
  }
}

// Of what whoever deploys is told: all of it has to be packed, where there may be little memory left.
const short = (text) => text.slice(0, 2000);

// For whoever deploys: what was wrong, and the line of theirs.
export function describe(error) {
  const own = frames(error);
  const place = own.map((line) => PLACE.exec(line)).find(Boolean);
  return {
    kind: isError(error) ? short(safely(error.name)) || 'Error' : typeof error,
    message: short(isError(error) ? safely(error.message) : safely(error)),
    file: place ? place[1] : null,
    line: place ? Number(place[2]) : null,
    column: place ? Number(place[3]) : null,
    stack: short(own.join('\n')),
  };
}
