// Request
import { describeClass } from '../define.js';
import { whenLeft } from '../handlers/leaving.js';
import { AbortController, AbortSignal } from '../web/abort.js';
import { URL } from '../web/url.js';
import { BODY, Body, extract, mixBodyInto } from './body.js';
import { Headers, headersFrom } from './headers.js';

const NORMALIZED = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT']);
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const REDIRECTS = new Set(['follow', 'manual', 'error']);

let make;

class Request {
  // {url, method, headers | list, redirect, signal, cf}; of an event it is the event itself, as it was read: most
  // requests are answered without being looked at. `headers` are pairs of the host's until somebody asks for `list`.
  #at;
  [BODY] = null;

  static {
    make = (at, body) => {
      const request = new Request(at, RAW);
      request[BODY] = body;
      return request;
    };
  }

  constructor(input, init = undefined) {
    if (init === RAW) {
      this.#at = input;
      return;
    }
    if (init !== undefined && init !== null && typeof init !== 'object' && typeof init !== 'function') throw new TypeError('Request: options are an object');
    const given = init ?? {};
    const other = typeof input === 'object' && input !== null && #at in input ? input : null;
    const at = other
      ? { ...other.#at, headers: undefined, list: undefined }
      : { url: parse(input), method: 'GET', redirect: 'follow' };
    this.#at = at;
    if (given.duplex !== undefined && given.duplex !== 'half') throw new TypeError('Request: `duplex` is "half"');
    if (given.method !== undefined) at.method = methodOf(given.method);
    if (given.redirect !== undefined) {
      if (!REDIRECTS.has(given.redirect)) throw new TypeError(`Request: invalid redirect mode: ${given.redirect}`);
      at.redirect = given.redirect;
    }
    const { signal = other?.#at.signal } = given;
    if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) throw new TypeError('Request: `signal` is an AbortSignal');
    at.signal = following(signal);
    if (given.cf !== undefined) at.cf = given.cf;
    at.list = new Headers(given.headers !== undefined ? given.headers : other?.headers);
    this.#setBody(given, other);
  }

  #setBody(given, other) {
    const at = this.#at;
    const hasBody = given.body !== undefined && given.body !== null;
    const inherited = !hasBody && given.body !== null ? other?.[BODY] ?? null : null;
    if ((hasBody || inherited) && (at.method === 'GET' || at.method === 'HEAD')) {
      throw new TypeError('Request with a GET or HEAD method cannot have a body.');
    }
    if (hasBody) {
      this[BODY] = extract(given.body);
      const { type } = this[BODY];
      if (type && !at.list.has('content-type')) at.list.append('content-type', type);
    } else if (inherited) {
      if (inherited.isUsed || inherited.isLocked) throw new TypeError('Cannot construct a Request with a Request object that has already been used.');
      this[BODY] = new Body({ ...inherited });
      inherited.used = true;
    }
  }

  get method() { return this.#at.method; }
  get url() { return this.#at.url; }
  get headers() {
    const at = this.#at;
    at.list ??= headersFrom(at.headers);
    return at.list;
  }
  get redirect() { return this.#at.redirect ?? 'follow'; }
  get signal() {
    const at = this.#at;
    if (at.headers !== undefined) return signalOf(at);
    at.signal ??= new AbortController().signal;
    return at.signal;
  }
  get cf() { return this.#at.cf; }
  get integrity() { return this.#said(''); }
  get keepalive() { return this.#said(false); }
  get cache() { return undefined; }
  get fetcher() { return null; }
  get duplex() { return this.#said('half'); }
  // Of each Request, but of nothing else: a private method is a check of the class.
  #said(value) { return value; }

  clone() {
    const body = this[BODY] === null ? null : this[BODY].clone();
    return make({ ...this.#at, headers: undefined, list: new Headers(this.headers), signal: following(this.#at.signal) }, body);
  }
}

const RAW = Symbol('raw');
mixBodyInto(Request);
describeClass(Request, ['method', 'url', 'headers', 'redirect', 'signal', 'cf', 'integrity', 'keepalive', 'cache', 'clone', 'duplex']);

// An event's Request is aborted when its visitor leaves. What is made of it is not, as on Cloudflare: a subrequest of work that
// goes on would be ended too. Its signal can be handed over by name.
const ofEvents = new WeakMap();
function signalOf(event) {
  let signal = ofEvents.get(event);
  if (signal === undefined) {
    const controller = new AbortController();
    signal = controller.signal;
    ofEvents.set(event, signal);
    whenLeft((reason) => controller.abort(reason));
  }
  return signal;
}

// A Request's signal is its own; without another it is made when somebody asks for it.
const following = (signal) => (signal === undefined || signal === null ? undefined : AbortSignal.any([signal]));

function parse(input) {
  let url;
  try {
    url = new URL(String(input));
  } catch {
    throw new TypeError(`Invalid URL: ${input}`);
  }
  if (url.username || url.password) throw new TypeError('Request: a URL with a user name or password is not allowed');
  return url.href;
}

function methodOf(method) {
  const text = String(method);
  if (!TOKEN.test(text)) throw new TypeError(`Invalid HTTP method string: ${text}`);
  const upper = text.toUpperCase();
  if (upper === 'CONNECT' || upper === 'TRACE' || upper === 'TRACK') throw new TypeError(`Invalid HTTP method string: ${text}`);
  return NORMALIZED.has(upper) ? upper : text;
}

// The Request of an event: its URL and headers are as the visitor sent them.
export function requestFrom(event) {
  const { body, body_stream: id } = event;
  return make(event, body !== undefined ? new Body({ bytes: body }) : id !== undefined ? new Body({ id, toldBy: event.headers }) : null);
}

export { Request };
