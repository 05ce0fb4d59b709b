// Event and EventTarget (DOM Standard), from event-target-shim, and the events that carry something.
import { Event, EventTarget, setErrorHandler, setWarningHandler } from 'event-target-shim';
import { define, describeClass } from '../define.js';
import { inspect } from '../inspect.js';
import { log } from '../host.js';

setErrorHandler((error) => log(4, `Uncaught ${inspect(error)}`));
setWarningHandler(() => {});
Object.defineProperty(Event, 'name', { value: 'Event' });
Object.defineProperty(EventTarget, 'name', { value: 'EventTarget' });

class CustomEvent extends Event {
  #detail;
  constructor(type, init = undefined) {
    super(type, init);
    this.#detail = init?.detail ?? null;
  }
  get detail() { return this.#detail; }
}

class ErrorEvent extends Event {
  #init;
  constructor(type, init = undefined) {
    super(type, init);
    const { message = '', filename = '', lineno = 0, colno = 0, error = undefined } = init ?? {};
    this.#init = { message: String(message), filename: String(filename), lineno: lineno >>> 0, colno: colno >>> 0, error };
  }
  get message() { return this.#init.message; }
  get filename() { return this.#init.filename; }
  get lineno() { return this.#init.lineno; }
  get colno() { return this.#init.colno; }
  get error() { return this.#init.error; }
}

class MessageEvent extends Event {
  #init;
  constructor(type, init = undefined) {
    super(type, init);
    const { data = null, origin = '', lastEventId = '', source = null, ports = [] } = init ?? {};
    this.#init = { data, origin: String(origin), lastEventId: String(lastEventId), source, ports: Object.freeze([...ports]) };
  }
  get data() { return this.#init.data; }
  get origin() { return this.#init.origin; }
  get lastEventId() { return this.#init.lastEventId; }
  get source() { return this.#init.source; }
  get ports() { return this.#init.ports; }
}

class CloseEvent extends Event {
  #init;
  constructor(type, init = undefined) {
    super(type, init);
    const { wasClean = false, code = 0, reason = '' } = init ?? {};
    this.#init = { wasClean: Boolean(wasClean), code: code & 0xffff, reason: String(reason) };
  }
  get wasClean() { return this.#init.wasClean; }
  get code() { return this.#init.code; }
  get reason() { return this.#init.reason; }
}

describeClass(CustomEvent, ['detail']);
describeClass(ErrorEvent, ['message', 'filename', 'lineno', 'colno', 'error']);
describeClass(MessageEvent, ['data', 'origin', 'lastEventId', 'source', 'ports']);
describeClass(CloseEvent, ['wasClean', 'code', 'reason']);

define({ Event, EventTarget, CustomEvent, ErrorEvent, MessageEvent, CloseEvent });
export { Event, EventTarget };
