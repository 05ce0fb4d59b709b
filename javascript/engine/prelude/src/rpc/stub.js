// A service binding, as the worker that has it sees it: `fetch`, and every other name a method of the entry point at its
// other end.
import { Body } from '../fetch/body.js';
import { ask } from '../fetch/fetch.js';
import { responseFrom } from '../fetch/response.js';
import { RETURNED, pack, unpack } from './values.js';

// It is HTTP to the host: arguments and result are bodies.
const REQUEST = Object.freeze({ url: 'https://rpc.invalid/', method: 'POST', headers: [] });
// Of a promise, and of what looks at values: a stub is none of those.
const NO_METHODS = new Set(['then', 'toJSON', 'constructor']);

async function call(binding, method, args) {
  const body = new Body({ text: pack(args, 'arguments') });
  const answer = responseFrom(await ask('service.call', binding, null, REQUEST, body, [], [method]));
  const text = await answer.text();
  const value = unpack(text.slice(1));
  if (text[0] !== RETURNED) throw value;
  return value;
}

// `fetcher` answers fetch() by itself.
export function stubOf(binding, fetcher) {
  return new Proxy(fetcher, {
    get(_, name) {
      const own = fetcher[name];
      if (own !== undefined || typeof name !== 'string' || NO_METHODS.has(name)) {
        return typeof own === 'function' ? own.bind(fetcher) : own;
      }
      return (...args) => call(binding, name, args);
    },
  });
}
