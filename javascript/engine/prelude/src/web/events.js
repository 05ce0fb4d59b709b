// Event and EventTarget (DOM Standard), from event-target-shim; AbortController.
import { Event, EventTarget, setErrorHandler, setWarningHandler } from 'event-target-shim';
import { define } from '../define.js';
import { show } from '../errors.js';
import { log } from '../host.js';

setErrorHandler((error) => log(4, `Uncaught ${show(error)}`));
setWarningHandler(() => {});
Object.defineProperty(Event, 'name', { value: 'Event' });
Object.defineProperty(EventTarget, 'name', { value: 'EventTarget' });

let isOurs = false;

class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  onabort = null;

  constructor() {
    super();
    if (!isOurs) throw new TypeError('Illegal constructor');
  }

  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  static _make() {
    isOurs = true;
    try {
      return new AbortSignal();
    } finally {
      isOurs = false;
    }
  }

  static _abort(signal, reason = new DOMException('The operation was aborted', 'AbortError')) {
    if (signal.#aborted) return;
    signal.#aborted = true;
    signal.#reason = reason;
    const event = new Event('abort');
    if (typeof signal.onabort === 'function') signal.onabort(event);
    signal.dispatchEvent(event);
  }

  static abort(reason) {
    const signal = AbortSignal._make();
    AbortSignal._abort(signal, reason);
    return signal;
  }

  static timeout(ms) {
    const signal = AbortSignal._make();
    setTimeout(() => AbortSignal._abort(signal, new DOMException('The operation timed out', 'TimeoutError')), ms);
    return signal;
  }

  static any(signals) {
    const all = AbortSignal._make();
    for (const signal of signals) {
      if (signal.aborted) {
        AbortSignal._abort(all, signal.reason);
        break;
      }
      signal.addEventListener('abort', () => AbortSignal._abort(all, signal.reason), { once: true });
    }
    return all;
  }
}

const { _make: makeSignal, _abort: abortSignal } = AbortSignal;
delete AbortSignal._make;
delete AbortSignal._abort;
Object.assign(AbortSignal, {});

class AbortController {
  #signal = makeSignal.call(AbortSignal);
  get signal() { return this.#signal; }
  abort(reason) { abortSignal.call(AbortSignal, this.#signal, reason); }
}

define({ Event, EventTarget, AbortController, AbortSignal });
export { AbortController, AbortSignal, Event, EventTarget };
