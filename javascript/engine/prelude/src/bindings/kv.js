// A KV namespace.
import { operation } from '../host.js';
import { Body } from '../fetch/body.js';

export class KvNamespace {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async get(key, options = undefined) {
    const type = typeOf(options);
    const entry = await operation('kv.get', this.#name, String(key));
    return entry === null ? null : valueOf(entry, type);
  }

  async put(key, value, options = {}) {
    await operation('kv.put', this.#name, String(key), typeof value === 'string' ? value : value, {
      expiration: options.expiration,
      expiration_ttl: options.expirationTtl,
      metadata: options.metadata,
    });
  }
}

function typeOf(options) {
  return (typeof options === 'string' ? options : options?.type) ?? 'text';
}

async function valueOf(entry, type) {
  const body = new Body(entry.value === undefined ? { id: entry.value_stream } : { bytes: entry.value });
  switch (type) {
    case 'stream': return body.asStream();
    case 'arrayBuffer': return new Response(body.asStream()).arrayBuffer();
    case 'json': return new Response(body.asStream()).json();
    case 'text': return new Response(body.asStream()).text();
    default: throw new TypeError(`Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".`);
  }
}
