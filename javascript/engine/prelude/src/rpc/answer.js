// The other end of a stub: one method of an entry point is called, and what becomes of it is a response.
import { inspect } from '../inspect.js';
import { log } from '../host.js';
import { RpcTarget, WorkerEntrypoint } from '../modules/workers.js';
import { RETURNED, THROWN, pack, unpack } from './values.js';

// What a class has for the platform, or from the language.
const RESERVED = new Set(['constructor', 'fetch', 'queue', 'scheduled', 'tail', 'connect', 'dup', 'alarm', 'test']);

// A method of its classes; what it inherits from the platform or the language, and what the constructor put into the
// instance, is nobody's to call.
function methodOf(instance, name) {
  let owner = Object.getPrototypeOf(instance);
  while (owner && owner !== WorkerEntrypoint.prototype && owner !== RpcTarget.prototype && owner !== Object.prototype) {
    if (Object.hasOwn(owner, name)) return RESERVED.has(name) ? undefined : instance[name];
    owner = Object.getPrototypeOf(owner);
  }
  return undefined;
}

// `make` makes what the method is of, `text` has the arguments; a promise of the result's text. Whatever is thrown is
// the caller's to handle.
export async function answerCall(make, name, text) {
  try {
    const instance = make();
    const method = methodOf(instance, name);
    if (typeof method !== 'function') throw new TypeError(`The RPC receiver does not implement the method "${name}".`);
    return RETURNED + pack(await method.apply(instance, unpack(text)), 'result');
  } catch (error) {
    log(5, `Uncaught (in ${name}) ${inspect(error)}`);
    return THROWN + pack(portable(error), 'error');
  }
}

// What was thrown, or if it can't travel an error that says what it was.
function portable(error) {
  try {
    pack(error, 'error');
    return error;
  } catch {
    return new Error(error instanceof Error ? String(error.message) : 'The other worker threw a value that can not be passed on.');
  }
}
