// AbortController and AbortSignal (DOM Standard).
import { getEventAttributeValue, setEventAttributeValue } from 'event-target-shim';
import { define, describeClass } from '../define.js';
import { mayAsk } from '../host.js';
import { Event, EventTarget } from './events.js';

const OURS = Symbol('ours');
let abort;

class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  // Signals of `any` that end with this one: they are marked before anybody is told, as the standard has it.
  #dependents = [];

  static {
    abort = (signal, reason) => {
      if (signal.#aborted) return;
      const told = [signal];
      for (let at = 0; at < told.length; at++) {
        told[at].#aborted = true;
        told[at].#reason = reason;
        told.push(...told[at].#dependents.filter((dependent) => !dependent.#aborted && !told.includes(dependent)));
        told[at].#dependents = [];
      }
      for (const each of told) each.dispatchEvent(new Event('abort'));
    };
  }

  constructor(key) {
    if (key !== OURS) throw new TypeError('Illegal constructor');
    super();
  }

  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  get onabort() { return getEventAttributeValue(this, 'abort'); }
  set onabort(listener) { setEventAttributeValue(this, 'abort', listener); }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  static abort(reason = abortError()) {
    const signal = new AbortSignal(OURS);
    signal.#aborted = true;
    signal.#reason = reason;
    return signal;
  }

  static timeout(ms) {
    mayAsk();
    const delay = Number(ms);
    if (!(delay >= 0 && delay <= Number.MAX_SAFE_INTEGER)) throw new TypeError(`AbortSignal.timeout: ${ms}: milliseconds, 0 or more, are right`);
    const signal = new AbortSignal(OURS);
    setTimeout(() => abort(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')), delay);
    return signal;
  }

  static any(signals) {
    const all = new AbortSignal(OURS);
    const given = [...signals];
    for (const signal of given) {
      if (!(signal instanceof AbortSignal)) throw new TypeError('AbortSignal.any: an array of AbortSignals is right');
    }
    const aborted = given.find((signal) => signal.#aborted);
    if (aborted) {
      all.#aborted = true;
      all.#reason = aborted.#reason;
    } else {
      for (const signal of given) signal.#dependents.push(all);
    }
    return all;
  }
}

class AbortController {
  #signal = new AbortSignal(OURS);
  get signal() { return this.#signal; }
  abort(reason = abortError()) { abort(this.#signal, reason); }
}

const abortError = () => new DOMException('The operation was aborted', 'AbortError');

// The library takes null as no signal.
const { addEventListener } = EventTarget.prototype;
Object.defineProperty(EventTarget.prototype, 'addEventListener', {
  value: {
    addEventListener(type, listener, options = undefined) {
      const signal = options?.signal;
      if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError('addEventListener: `signal` is an AbortSignal');
      return addEventListener.call(this, type, listener, options);
    },
  }.addEventListener,
  writable: true, configurable: true, enumerable: true,
});

describeClass(AbortSignal, ['aborted', 'reason', 'onabort', 'throwIfAborted']);
describeClass(AbortController, ['signal', 'abort']);

define({ AbortController, AbortSignal });
export { AbortController, AbortSignal };
