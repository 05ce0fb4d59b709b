// ExecutionContext: what may go on after the handler has returned, or its visitor has left.
import { describeClass } from '../define.js';
import { inspect } from '../inspect.js';
import { log } from '../host.js';
import { whenLeft } from './leaving.js';

let waitsOf;
let current = null;

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
    const count = this.#waits.push(Promise.resolve(promise).catch((error) => log(5, `Uncaught (in waitUntil) ${inspect(error)}`)));
    if (count === 1) whenLeft(() => settled(this));
  }

  // There is no origin behind a worker here to pass on to: what is thrown is the worker's answer.
  passThroughOnException() {}

  get exports() {
    throw new Error('ctx.exports is not supported here: give the worker a service binding to itself, with the entry point\'s name.');
  }

  abort(reason) {
    throw reason ?? new Error('The worker ended itself.');
  }
}

describeClass(ExecutionContext);

// Of the event that is served: what a service binding says is its props, else what a dispatcher passed.
export function contextFor({ entry, params }) {
  current = new ExecutionContext(entry === undefined ? params : JSON.parse(entry.props ?? '{}'));
  return current;
}

// The one of the event that is served; null: none is.
export const currentContext = () => current;

export const isWaiting = (context) => waitsOf(context) !== null;

// Until everything that was handed to waitUntil is done, what was handed to it meanwhile included.
export async function settled(context) {
  const waits = waitsOf(context);
  for (let at = 0; at < waits?.length; at++) await waits[at];
}

export { ExecutionContext };
