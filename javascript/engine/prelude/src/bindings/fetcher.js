// Other workers: a service by its binding, and those of a dispatch namespace by their name.
import { ask } from '../fetch/fetch.js';
import { BODY } from '../fetch/body.js';
import { outgoing } from '../fetch/headers.js';
import { Request } from '../fetch/request.js';
import { responseFrom } from '../fetch/response.js';
import { lengthToSend } from '../fetch/send.js';
import { stubOf } from '../rpc/stub.js';

class Fetcher {
  #fetch;

  constructor(fetch) {
    this.#fetch = fetch;
  }

  async fetch(input, init = undefined) {
    const request = new Request(absolute(input), init);
    const given = { url: request.url, method: request.method, headers: outgoing(request.headers, lengthToSend(request[BODY])) };
    return responseFrom(await this.#fetch(given, request[BODY], request.signal), request.url);
  }

  connect() {
    throw new Error('connect() is not supported: workers speak HTTP to each other.');
  }
}

// A path alone is enough for who needs no host: there is one worker at the other end.
function absolute(input) {
  return typeof input === 'string' && input.startsWith('/') ? `https://fake-host${input}` : input;
}

export const service = (name) => stubOf(name, new Fetcher((given, body, signal) => ask('service.fetch', name, signal, given, body)));

const LIMITS = { cpuMs: 'cpu_ms', subRequests: 'subrequests' };

export class DispatchNamespace {
  #name;

  constructor(name) {
    this.#name = name;
  }

  // Nothing is looked up before fetch(): there a missing worker throws `Worker not found`.
  get(script, args = {}, options = {}) {
    const given = callOptions(args, options);
    return new Fetcher((request, body, signal) => ask('dispatch.fetch', this.#name, signal, request, body, [String(script)], [given]));
  }
}

function callOptions(args, options) {
  const limits = {};
  for (const name of Object.keys(options?.limits ?? {})) limits[LIMITS[name] ?? name] = options.limits[name];
  const given = {
    params: texts(args?.params ?? args), limits, outbound: texts(options?.outbound), egress: options?.egress ?? undefined,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value && Object.keys(value).length));
}

// Parameters travel as text: what is none is handed over as its JSON.
function texts(record) {
  if (record === undefined || record === null) return undefined;
  return Object.fromEntries(Object.entries(record)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]));
}
