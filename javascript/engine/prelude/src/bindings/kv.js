// A KV namespace.
import { Body, extract, readers } from '../fetch/body.js';
import { hostBody } from '../fetch/send.js';
import { operation } from '../host.js';
import { integer } from '../integer.js';

const TYPES = ['text', 'json', 'arrayBuffer', 'stream'];

export class KvNamespace {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async get(key, options = undefined) {
    if (Array.isArray(key)) return this.#many(key, options, ({ value }) => value);
    const { type, ttl } = reading(options);
    const entry = await operation('kv.get', this.#name, String(key), ttl);
    return entry === null ? null : valueOf(entry, type);
  }

  async getWithMetadata(key, options = undefined) {
    if (Array.isArray(key)) return this.#many(key, options, (found) => found);
    const { type, ttl } = reading(options);
    const entry = await operation('kv.get', this.#name, String(key), ttl);
    if (entry === null) return { value: null, metadata: null, cacheStatus: null };
    return { value: await valueOf(entry, type), metadata: entry.metadata, cacheStatus: null };
  }

  // Map of every key that was asked for.
  async #many(keys, options, pick) {
    const { type, ttl } = reading(options);
    if (type !== 'text' && type !== 'json') throw new TypeError('get(): several keys at once are read as "text" or "json".');
    const entries = await operation('kv.get_many', this.#name, keys.map(String), ttl);
    const found = new Map();
    for (const key of keys) {
      const entry = entries[key];
      found.set(key, entry === null || entry === undefined
        ? pick({ value: null, metadata: null })
        : pick({ value: await valueOf(entry, type), metadata: entry.metadata }));
    }
    return found;
  }

  async put(key, value, options = undefined) {
    const how = writing(options);
    const { given, sending } = await hostBody(valueFor(value));
    const stored = operation('kv.put', this.#name, String(key),
      given.body_stream === undefined ? given.body : { stream: given.body_stream }, how);
    sending?.();
    await stored;
  }

  async delete(key) {
    await operation('kv.delete', this.#name, String(key));
  }

  async list(options = undefined) {
    const { prefix, limit, cursor } = options ?? {};
    const page = await operation('kv.list', this.#name,
      { prefix: prefix ?? undefined, limit: integer('limit', limit), cursor: cursor ?? undefined });
    return { ...page, cacheStatus: null };
  }
}

function reading(options) {
  const type = (typeof options === 'string' ? options : options?.type) ?? 'text';
  if (!TYPES.includes(type)) throw new TypeError('Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".');
  const ttl = integer('cacheTtl', options?.cacheTtl);
  return { type, ttl: ttl === undefined ? null : { cache_ttl: ttl } };
}

function writing(options) {
  if (options === undefined || options === null) return null;
  return {
    expiration: integer('expiration', options.expiration),
    expiration_ttl: integer('expirationTtl', options.expirationTtl),
    metadata: options.metadata ?? undefined,
  };
}

function valueFor(value) {
  if (value === null || value === undefined || (typeof value !== 'string' && typeof value !== 'object')) {
    throw new TypeError('KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.');
  }
  return extract(value);
}

async function valueOf(entry, type) {
  const body = new Body(entry.value === undefined ? { id: entry.value_stream } : { bytes: entry.value });
  return type === 'stream' ? body.asStream() : readers[type](await body.whole());
}
