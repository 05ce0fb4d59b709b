// `node:assert`, strict: what `equal` compares is compared as `strictEqual` does.
import { inspect } from '../../inspect.js';
import { isDeepStrictEqual } from './deep_equal.js';

export class AssertionError extends Error {
  constructor({ message, actual, expected, operator } = {}) {
    super(message ?? `${inspect(actual)} ${operator} ${inspect(expected)}`);
    this.name = 'AssertionError';
    Object.assign(this, { code: 'ERR_ASSERTION', actual, expected, operator, generatedMessage: message === undefined });
  }
}

function check(holds, message, actual, expected, operator) {
  if (holds) return;
  if (message instanceof Error) throw message;
  throw new AssertionError({ message, actual, expected, operator });
}

export const ok = (value, message) => check(value, message, value, true, '==');
export const strictEqual = (actual, expected, message) => check(Object.is(actual, expected), message, actual, expected, 'strictEqual');
export const notStrictEqual = (actual, expected, message) => check(!Object.is(actual, expected), message, actual, expected, 'notStrictEqual');
export const deepStrictEqual = (actual, expected, message) => check(isDeepStrictEqual(actual, expected), message, actual, expected, 'deepStrictEqual');
export const notDeepStrictEqual = (actual, expected, message) => check(!isDeepStrictEqual(actual, expected), message, actual, expected, 'notDeepStrictEqual');
export const match = (text, pattern, message) => check(pattern.test(text), message, text, pattern, 'match');
export const doesNotMatch = (text, pattern, message) => check(!pattern.test(text), message, text, pattern, 'doesNotMatch');
export const fail = (message = 'Failed') => check(false, message, undefined, undefined, 'fail');
export const equal = strictEqual, notEqual = notStrictEqual, deepEqual = deepStrictEqual, notDeepEqual = notDeepStrictEqual;

export function ifError(value) {
  if (value !== null && value !== undefined) throw value;
}

// `expected`: a class, a pattern of the message, a function that says, or an object with what the error has.
function isExpected(error, expected) {
  if (expected === undefined) return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected === 'function') {
    if (expected.prototype !== undefined && error instanceof expected) return true;
    return !(expected === Error || expected.prototype instanceof Error) && expected.call({}, error) === true;
  }
  return Object.keys(expected).every((key) => (
    expected[key] instanceof RegExp && typeof error[key] === 'string' ? expected[key].test(error[key]) : isDeepStrictEqual(error[key], expected[key])));
}

function caught(error, expected) {
  if (!isExpected(error, typeof expected === 'string' ? undefined : expected)) throw error;
}

export function throws(run, expected, message) {
  try {
    run();
  } catch (error) {
    return caught(error, expected);
  }
  return check(false, message ?? 'Missing expected exception.', undefined, expected, 'throws');
}

export async function rejects(run, expected, message) {
  try {
    await (typeof run === 'function' ? run() : run);
  } catch (error) {
    return caught(error, expected);
  }
  return check(false, message ?? 'Missing expected rejection.', undefined, expected, 'rejects');
}

export function doesNotThrow(run) { run(); }

export async function doesNotReject(run) { await (typeof run === 'function' ? run() : run); }

const assert = Object.assign((value, message) => ok(value, message), {
  AssertionError, ok, equal, notEqual, strictEqual, notStrictEqual, deepEqual, notDeepEqual, deepStrictEqual, notDeepStrictEqual,
  match, doesNotMatch, fail, ifError, throws, rejects, doesNotThrow, doesNotReject,
});
assert.strict = assert;
export const strict = assert;
export default assert;
