// Cache and caches: responses that are kept for a URL, as their headers allow.
import { define, describeClass } from '../define.js';
import { BODY } from '../fetch/body.js';
import { codingOf } from '../fetch/coding.js';
import { outgoing, pairsOf } from '../fetch/headers.js';
import { Request } from '../fetch/request.js';
import { responseFrom } from '../fetch/response.js';
import { hostBody, travelling } from '../fetch/send.js';
import { operation } from '../host.js';

let made;

class Cache {
  #name;

  static {
    made = (name) => new Cache(name, made);
  }

  constructor(name, key) {
    if (key !== made) throw new TypeError('Illegal constructor');
    this.#name = name;
  }

  async match(request, options = undefined) {
    const found = await operation('cache.match', this.#name, of(request), ignoring(options));
    return found === null ? undefined : responseFrom(found, typeof request === 'string' ? request : request.url ?? String(request));
  }

  async put(request, response) {
    const given = of(request);
    if (given.method !== 'GET') throw new TypeError('Cannot cache response to non-GET request.');
    if (response.status === 206) throw new TypeError('Cannot cache response to a range request (206 Partial Content).');
    if (response.headers.get('vary')?.includes('*')) throw new TypeError("Cannot cache response with 'Vary: *' header.");
    const held = response[BODY];
    const { given: body, sending } = await hostBody(held && await travelling(held, codingOf(pairsOf(response.headers))));
    const stored = operation('cache.put', this.#name, given, {
      status: response.status, headers: pairsOf(response.headers).filter(([name]) => name !== 'content-length'), ...body,
    });
    sending?.();
    await stored;
  }

  async delete(request, options = undefined) {
    return operation('cache.delete', this.#name, of(request), ignoring(options));
  }
}

describeClass(Cache, ['match', 'put', 'delete']);

function of(input) {
  const request = new Request(input);
  return { url: request.url, method: request.method, headers: outgoing(request.headers) };
}

const ignoring = (options) => (options?.ignoreMethod ? { ignore_method: true } : {});

// Where a worker has no cache binding of a name, its cache finds nothing and keeps nothing, as on a zone without one.
class NoCache extends Cache {
  constructor() { super('', made); }
  async match() { return undefined; }
  async put(request, response) { await response[BODY]?.whole(); }
  async delete() { return false; }
}

let bound = new Map();
export const cachesAre = (caches) => { bound = caches; };

class CacheStorage {
  // The binding `default`, or else the first one.
  get default() { return bound.get('default') ?? bound.values().next().value ?? new NoCache(); }
  async open(name) { return bound.get(String(name)) ?? new NoCache(); }
}

describeClass(CacheStorage, ['open', 'default']);
define({ Cache, CacheStorage, caches: new CacheStorage() });

export const cacheOf = (name) => made(name);
