// fetch: a request of the host's, redirects followed here.
import { last, mayAsk, operation } from '../host.js';
import { URL } from '../web/url.js';
import { abortable } from './abortable.js';
import { BODY, Body } from './body.js';
import { outgoing } from './headers.js';
import { Request } from './request.js';
import { responseFrom } from './response.js';
import { hostBody, lengthToSend } from './send.js';

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 20;
const OF_A_BODY = new Set(['content-encoding', 'content-language', 'content-location', 'content-type', 'content-length']);
const OF_AN_ORIGIN = new Set(['authorization', 'cookie', 'host', 'proxy-authorization']);

export async function fetch(input, init = undefined) {
  mayAsk(); // here, where the stack still has the caller's line
  const request = new Request(input, init);
  try {
    return await follow(request);
  } catch (error) {
    if (typeof error?.code !== 'string' || error instanceof TypeError || error instanceof DOMException) throw error;
    const failed = new TypeError(error.message);
    Object.defineProperty(failed, 'code', { value: error.code, configurable: true, writable: true });
    throw failed;
  }
}

async function follow(request) {
  let { url, method } = request;
  let headers = outgoing(request.headers, lengthToSend(request[BODY]));
  let body = request[BODY];
  for (let hops = 0; ; hops++) {
    const again = body !== null && (body.text !== null || body.bytes !== null) ? new Body({ ...body }) : null;
    const answer = await ask('fetch', null, request.signal, { url, method, headers }, body);
    const location = REDIRECTS.has(answer.status) ? answer.headers.find(([name]) => name === 'location')?.[1] : undefined;
    if (location === undefined || request.redirect === 'manual') {
      const response = responseFrom(answer, url, hops > 0);
      response[BODY]?.endsWith(request.signal);
      return response;
    }
    if (request.redirect === 'error') throw new TypeError(`Redirect encountered, which the request's redirect mode forbids: ${url}`);
    if (hops === MOST_REDIRECTS) throw new TypeError('Too many redirects.');
    if (!URL.canParse(location, url)) throw new TypeError(`Unable to parse the redirect's URL: ${location}`);
    const next = new URL(location, url);
    if (next.protocol !== 'http:' && next.protocol !== 'https:') throw new TypeError(`A redirect to ${next.protocol} can't be followed.`);
    if (next.origin !== new URL(url).origin) headers = headers.filter(([name]) => !OF_AN_ORIGIN.has(name));
    if (answer.body_stream !== undefined) operation('stream.close', null, answer.body_stream).catch(() => {});
    const { status } = answer;
    if ((status === 303 && method !== 'GET' && method !== 'HEAD') || ((status === 301 || status === 302) && method === 'POST')) {
      method = 'GET';
      body = null;
      headers = headers.filter(([name]) => !OF_A_BODY.has(name));
    } else if (body !== null) {
      if (again === null) throw new TypeError("A streamed body can't be sent again after a redirect.");
      body = again;
    }
    url = next.href;
  }
}

// One request through `name` (fetch, service.fetch, dispatch.fetch): what the host answered. `before` are the
// operation's arguments before the request, `after` those behind it.
export async function ask(name, binding, signal, request, body, before = [], after = []) {
  if (signal?.aborted) throw signal.reason;
  const { given, sending } = await hostBody(body);
  const asked = operation(name, binding, ...before, { ...request, ...given }, ...after);
  const id = last();
  sending?.();
  return abortable(signal, asked, id);
}
