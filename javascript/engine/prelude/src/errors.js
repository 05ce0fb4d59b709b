// Errors: those of operations, and what there is to tell of any of them. inspect.js shows them.
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

// The tenant's own lines of a stack; the platform's say nothing to anybody who did not write it.
export function frames(error) {
  const stack = isError(error) ? framesOf(error) : '';
  return typeof stack !== 'string' ? [] : stack.split('\n').filter((line) => FRAME.test(line) && !OURS.test(line));
}

// `TypeError: message`.
export function titleOf(error) {
  const name = safely(error.name) || 'Error';
  const message = safely(error.message);
  return message ? `${name}: ${message}` : name;
}

export function isError(value) {
  return value instanceof Error || (typeof value === 'object' && value !== null && 'stack' in value && 'message' in value);
}

export function safely(value) {
  try {
    return String(value);
  } catch {
    return 'a value that has no text';
  }
}
