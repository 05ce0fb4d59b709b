// Response
import { describeClass } from '../define.js';
import { URL } from '../web/url.js';
import { BODY, Body, extract, mixBodyInto } from './body.js';
import { Headers, headersFrom } from './headers.js';

const NO_BODY = new Set([101, 103, 204, 205, 304]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

let make;

class Response {
  #status = 200;
  #statusText = '';
  #headers = null;
  #pairs = null;
  #url = '';
  #redirected = false;
  #type = 'default';
  [BODY] = null;

  static {
    make = (status, pairs, body, url, redirected) => {
      const response = new Response();
      response.#status = status;
      response.#headers = null;
      response.#pairs = pairs;
      response[BODY] = body;
      response.#url = url;
      response.#redirected = redirected;
      return response;
    };
  }

  constructor(body = null, init = undefined) {
    if (init === undefined) {
      this.#headers = new Headers();
    } else {
      if (init !== null && typeof init !== 'object') throw new TypeError('Response: options are an object');
      this.#initialize(init ?? {});
    }
    if (body === null || body === undefined) return;
    if (NO_BODY.has(this.#status)) throw new TypeError(`Response with null body status (${this.#status}) cannot have a body.`);
    this[BODY] = extract(body);
    const { type } = this[BODY];
    if (type && !this.#headers.has('content-type')) this.#headers.append('content-type', type);
  }

  #initialize(init) {
    if (init.status !== undefined) {
      const status = Number(init.status);
      if (!Number.isInteger(status) || (status !== 101 && (status < 200 || status > 599))) {
        throw new RangeError('Responses may only be constructed with status codes in the range 200 to 599, inclusive.');
      }
      this.#status = status;
    }
    if (init.statusText !== undefined) {
      this.#statusText = String(init.statusText);
      if (!REASON.test(this.#statusText)) throw new TypeError('Invalid statusText');
    }
    this.#headers = new Headers(init.headers);
  }

  get type() { return this.#type; }
  get url() { return this.#url; }
  get redirected() { return this.#redirected; }
  get status() { return this.#status; }
  get ok() { return this.#status >= 200 && this.#status <= 299; }
  get statusText() { return this.#statusText; }
  get headers() {
    this.#headers ??= headersFrom(this.#pairs);
    return this.#headers;
  }
  get webSocket() { return null; }
  get cf() { return undefined; }

  clone() {
    const body = this[BODY] === null ? null : this[BODY].clone();
    const copy = make(this.#status, null, body, this.#url, this.#redirected);
    copy.#headers = new Headers(this.headers);
    copy.#statusText = this.#statusText;
    copy.#type = this.#type;
    return copy;
  }

  static error() {
    const response = new Response();
    response.#status = 0;
    response.#type = 'error';
    return response;
  }

  static redirect(url, status = 302) {
    const text = String(url);
    if (!URL.canParse(text)) throw new TypeError(`Unable to parse URL: ${text}`);
    if (!REDIRECTS.has(Number(status))) throw new RangeError(`${status} is not a redirect status code.`);
    return new Response(null, { status, headers: { location: new URL(text).href } });
  }

  static json(data, init = {}) {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError('Response.json: the value has no JSON');
    const response = new Response(text, init);
    if (!new Headers(init?.headers).has('content-type')) response.headers.set('content-type', 'application/json');
    return response;
  }
}

mixBodyInto(Response);
describeClass(Response, ['type', 'url', 'redirected', 'status', 'ok', 'statusText', 'headers', 'webSocket', 'cf', 'clone']);

// What the host answered to a fetch.
export function responseFrom({ status, headers, body, body_stream: id }, url = '', redirected = false) {
  const held = body !== undefined ? new Body({ bytes: body }) : id !== undefined ? new Body({ id }) : null;
  return make(status, headers, held, url, redirected);
}

export { Response };
