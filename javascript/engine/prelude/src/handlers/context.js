// ExecutionContext: what may go on after the handler has returned.
import { describeClass } from '../define.js';
import { show } from '../errors.js';
import { log } from '../host.js';

let waitsOf;

class ExecutionContext {
  #waits = null;
  props;

  static {
    waitsOf = (context) => context.#waits;
  }

  constructor(props = {}) {
    this.props = props;
  }

  waitUntil(promise) {
    this.#waits ??= [];
    this.#waits.push(Promise.resolve(promise).catch((error) => log(4, `Uncaught (in waitUntil) ${show(error)}`)));
  }

  // There is no origin behind a worker here to pass on to: what is thrown is the worker's answer.
  passThroughOnException() {}

  abort(reason) {
    throw reason ?? new Error('The worker ended itself.');
  }
}

describeClass(ExecutionContext);

export const isWaiting = (context) => waitsOf(context) !== null;

// Until everything that was handed to waitUntil is done, what was handed to it meanwhile included.
export async function settled(context) {
  const waits = waitsOf(context);
  while (waits?.length) await waits.shift();
}

export { ExecutionContext };
