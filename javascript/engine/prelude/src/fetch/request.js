// Request
import { describeClass } from '../define.js';
import { AbortController } from '../web/abort.js';
import { URL } from '../web/url.js';
import { BODY, Body, extract, mixBodyInto } from './body.js';
import { Headers, headersFrom } from './headers.js';

const NORMALIZED = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT']);
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const REDIRECTS = new Set(['follow', 'manual', 'error']);

let make;

class Request {
  #method = 'GET';
  #url;
  #headers = null;
  // Of the host's, until somebody asks: most requests are answered without.
  #pairs = null;
  #redirect = 'follow';
  #signal = null;
  #cf;
  [BODY] = null;

  static {
    make = (event, body) => {
      const request = new Request(event.url, RAW);
      request.#method = event.method;
      request.#pairs = event.headers;
      request[BODY] = body;
      return request;
    };
  }

  constructor(input, init = undefined) {
    if (init === RAW) {
      this.#url = input;
      return;
    }
    if (arguments.length < 1) throw new TypeError('Request: a URL or a Request is needed');
    if (init !== undefined && init !== null && typeof init !== 'object') throw new TypeError('Request: options are an object');
    const given = init ?? {};
    const other = typeof input === 'object' && input !== null && #url in input ? input : null;
    if (other) {
      this.#url = other.#url;
      this.#method = other.#method;
      this.#redirect = other.#redirect;
      this.#signal = other.#signal;
      this.#cf = other.#cf;
    } else {
      this.#url = parse(input);
    }
    if (given.method !== undefined) this.#method = methodOf(given.method);
    if (given.redirect !== undefined) {
      if (!REDIRECTS.has(given.redirect)) throw new TypeError(`Request: invalid redirect mode: ${given.redirect}`);
      this.#redirect = given.redirect;
    }
    if (given.signal !== undefined) {
      if (given.signal !== null && typeof given.signal.aborted !== 'boolean') throw new TypeError('Request: `signal` is an AbortSignal');
      this.#signal = given.signal;
    }
    if (given.cf !== undefined) this.#cf = given.cf;
    this.#headers = new Headers(given.headers !== undefined ? given.headers : other?.headers);
    this.#setBody(given, other);
  }

  #setBody(given, other) {
    const hasBody = given.body !== undefined && given.body !== null;
    const inherited = !hasBody && given.body !== null ? other?.[BODY] ?? null : null;
    if ((hasBody || inherited) && (this.#method === 'GET' || this.#method === 'HEAD')) {
      throw new TypeError('Request with a GET or HEAD method cannot have a body.');
    }
    if (hasBody) {
      this[BODY] = extract(given.body);
      const { type } = this[BODY];
      if (type && !this.#headers.has('content-type')) this.#headers.append('content-type', type);
    } else if (inherited) {
      if (inherited.isUsed || inherited.isLocked) throw new TypeError('Cannot construct a Request with a Request object that has already been used.');
      this[BODY] = new Body({ ...inherited });
      inherited.used = true;
    }
  }

  get method() { return this.#method; }
  get url() { return this.#url; }
  get headers() {
    this.#headers ??= headersFrom(this.#pairs);
    return this.#headers;
  }
  get redirect() { return this.#redirect; }
  get signal() {
    this.#signal ??= new AbortController().signal;
    return this.#signal;
  }
  get cf() { return this.#cf; }
  get integrity() { return ''; }
  get keepalive() { return false; }
  get cache() { return undefined; }
  get fetcher() { return null; }
  get duplex() { return 'half'; }

  clone() {
    const copy = new Request(this.#url, RAW);
    copy.#method = this.#method;
    copy.#redirect = this.#redirect;
    copy.#signal = this.#signal;
    copy.#cf = this.#cf;
    copy[BODY] = this[BODY] === null ? null : this[BODY].clone();
    copy.#headers = new Headers(this.headers);
    return copy;
  }
}

const RAW = Symbol('raw');
mixBodyInto(Request);
describeClass(Request, ['method', 'url', 'headers', 'redirect', 'signal', 'cf', 'integrity', 'keepalive', 'cache', 'clone', 'duplex']);

function parse(input) {
  const text = String(input);
  if (!URL.canParse(text)) throw new TypeError(`Invalid URL: ${text}`);
  const url = new URL(text);
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
  return make(event, body !== undefined ? new Body({ bytes: body }) : id !== undefined ? new Body({ id }) : null);
}

export { Request };
