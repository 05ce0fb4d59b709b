// Response
import { describeClass } from '../define.js';
import { URL } from '../web/url.js';
import { BODY, Body, extract, mixBodyInto } from './body.js';
import { codingOf } from './coding.js';
import { Headers, copyOf, headersFrom, pairsOf, sendable } from './headers.js';

const NO_BODY = new Set([101, 103, 204, 205, 304]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

// `isGiven`: by the host or a static method, so that its headers are immutable.
const USUAL = Object.freeze({ statusText: '', url: '', redirected: false, type: 'default', isGiven: false });

let make;
let pairsToSend;
let encodesItself;

class Response {
  #status = 200;
  #headers = null;
  // Until somebody asks for the headers.
  #pairs = null;
  // {statusText, url, redirected, type, isGiven} where one of them is not as usual: each property costs a small response a tenth.
  #more = USUAL;
  [BODY] = null;

  static {
    pairsToSend = (response) => (response.#headers === null ? sendable(response.#pairs ?? []) : pairsOf(response.#headers));
    encodesItself = (response) => response.#more.encodeBody === 'manual';
    make = (status, pairs, body, url, redirected) => {
      const response = new Response();
      response.#status = status;
      response.#pairs = pairs;
      response[BODY] = body;
      response.#more = { ...USUAL, url, redirected, isGiven: true };
      return response;
    };
  }

  constructor(body = null, init = undefined) {
    if (init !== undefined) {
      if (init !== null && typeof init !== 'object' && typeof init !== 'function') throw new TypeError('Response: options are an object');
      this.#initialize(init ?? {});
    }
    if (body === null || body === undefined) return;
    if (NO_BODY.has(this.#status)) throw new TypeError(`Response with null body status (${this.#status}) cannot have a body.`);
    this[BODY] = extract(body);
    const { type } = this[BODY];
    if (!type) return;
    // Most have no headers but this one, which nobody looks at before it is sent.
    if (this.#headers === null) this.#pairs = [['content-type', type]];
    else if (!this.#headers.has('content-type')) this.#headers.append('content-type', type);
  }

  #initialize(init) {
    if (init.headers !== undefined) this.#headers = new Headers(init.headers);
    if (init.status !== undefined) {
      const status = Number(init.status) & 0xffff; // an unsigned short, as Web IDL converts one
      if (status !== 101 && (status < 200 || status > 599)) {
        throw new RangeError('Responses may only be constructed with status codes in the range 200 to 599, inclusive.');
      }
      this.#status = status;
    }
    if (init.statusText !== undefined) {
      const statusText = String(init.statusText);
      if (!REASON.test(statusText)) throw new TypeError('Invalid statusText');
      if (statusText) this.#more = { ...USUAL, statusText };
    }
    if (init.encodeBody === 'manual') this.#more = { ...this.#more, encodeBody: 'manual' };
    else if (init.encodeBody !== undefined && init.encodeBody !== 'automatic') throw new TypeError(`encodeBody: unexpected value: ${init.encodeBody}`);
  }

  get type() { return this.#more.type; }
  get url() { return this.#more.url; }
  get redirected() { return this.#more.redirected; }
  get status() { return this.#status; }
  get ok() { return this.#status >= 200 && this.#status <= 299; }
  get statusText() { return this.#more.statusText; }
  get headers() {
    this.#headers ??= headersFrom(this.#pairs ?? [], this.#more.isGiven);
    return this.#headers;
  }
  get webSocket() { return null; }
  get cf() { return undefined; }

  clone() {
    const body = this[BODY] === null ? null : this[BODY].clone();
    const copy = make(this.#status, null, body);
    copy.#headers = copyOf(this.headers);
    copy.#more = this.#more;
    return copy;
  }

  static error() {
    const response = new Response();
    response.#status = 0;
    response.#more = { ...USUAL, type: 'error', isGiven: true };
    return response;
  }

  static redirect(url, status = 302) {
    const text = String(url);
    if (!URL.canParse(text)) throw new TypeError(`Unable to parse URL: ${text}`);
    if (!REDIRECTS.has(Number(status))) throw new RangeError(`${status} is not a redirect status code.`);
    const response = new Response(null, { status });
    response.#pairs = [['location', new URL(text).href]];
    response.#more = { ...USUAL, isGiven: true };
    return response;
  }

  static json(data, init = undefined) {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError('Response.json: the value has no JSON');
    const response = new Response(null, init);
    if (NO_BODY.has(response.#status)) throw new TypeError(`Response with null body status (${response.#status}) cannot have a body.`);
    response[BODY] = new Body({ text });
    if (response.#headers === null) response.#pairs = [['content-type', 'application/json']];
    else if (!response.#headers.has('content-type')) response.#headers.append('content-type', 'application/json');
    return response;
  }
}

mixBodyInto(Response);
for (const name of ['error', 'redirect', 'json']) Object.defineProperty(Response, name, { enumerable: true });
describeClass(Response, ['type', 'url', 'redirected', 'status', 'ok', 'statusText', 'headers', 'webSocket', 'cf', 'clone']);

// What the host answered to a fetch.
export function responseFrom({ status, headers, body, body_stream: id }, url = '', redirected = false) {
  const held = body !== undefined ? new Body({ bytes: body }) : id !== undefined ? new Body({ id }) : null;
  if (held !== null && (body === undefined || body.length)) {
    const coding = codingOf(headers);
    if (coding !== null) held.isCodedWith(coding);
    else if (id !== undefined) held.toldBy = headers;
  }
  return make(status, headers, held, url, redirected);
}

export { encodesItself, pairsToSend, Response };
