// URL and URLSearchParams (URL Standard). URL is the glue's (glue/url.c); what reads and writes a query is too.
import { define, describeClass } from '../define.js';
import { URL, formList, formText, urlParams, urlQuery } from '../host.js';
import { iterating } from './iterating.js';

let showing;

class URLSearchParams {
  #list = [];
  // The URL whose query this is, or null, and the query that #list was made of or was written to. It is read when somebody
  // asks: what changes a URL needs to tell nobody.
  #url = null;
  #shown = '';

  static {
    showing = (url) => {
      const params = new URLSearchParams();
      params.#url = url;
      return params;
    };
  }

  constructor(init = undefined) {
    if (init === undefined) return;
    const isObject = (typeof init === 'object' && init !== null) || typeof init === 'function';
    if (!isObject) this.#list = listOf(text(init));
    else {
      const method = init[Symbol.iterator];
      this.#list = method === undefined || method === null ? ofRecord(init) : ofSequence(init, method);
    }
  }

  #now() {
    if (this.#url !== null) {
      const query = urlQuery(this.#url);
      if (query !== this.#shown) {
        this.#list = listOf(query);
        this.#shown = query;
      }
    }
    return this.#list;
  }

  #change(list) {
    this.#list = list;
    if (this.#url === null) return;
    urlQuery(this.#url, formText(list));
    this.#shown = urlQuery(this.#url);
  }

  get size() { return this.#now().length; }

  append(name, value) {
    need(arguments, 2, 'append');
    const pair = [text(name), text(value)];
    const list = this.#now();
    list.push(pair);
    this.#change(list);
  }

  delete(name, value = undefined) {
    need(arguments, 1, 'delete');
    const is = matching(name, value);
    this.#change(this.#now().filter((pair) => !is(pair)));
  }

  get(name) {
    need(arguments, 1, 'get');
    const wanted = text(name);
    const list = this.#now();
    for (let at = 0; at < list.length; at++) if (list[at][0] === wanted) return list[at][1];
    return null;
  }

  getAll(name) {
    need(arguments, 1, 'getAll');
    const wanted = text(name);
    return this.#now().filter((pair) => pair[0] === wanted).map((pair) => pair[1]);
  }

  has(name, value = undefined) {
    need(arguments, 1, 'has');
    return this.#now().some(matching(name, value));
  }

  set(name, value) {
    need(arguments, 2, 'set');
    const pair = [text(name), text(value)];
    const list = this.#now();
    const first = list.findIndex((other) => other[0] === pair[0]);
    if (first < 0) list.push(pair);
    else list[first] = pair;
    this.#change(first < 0 ? list : list.filter((other, at) => at <= first || other[0] !== pair[0]));
  }

  sort() {
    this.#change(this.#now().sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)));
  }

  forEach(callback, self = undefined) {
    need(arguments, 1, 'forEach');
    if (typeof callback !== 'function') throw new TypeError('URLSearchParams.forEach: a function is expected');
    // What is added on the way is met too.
    for (let at = 0; at < this.#now().length; at++) {
      const [name, value] = this.#list[at];
      callback.call(self, value, name, this);
    }
  }

  entries() { return iterate(() => this.#now(), ([name, value]) => [name, value]); }
  keys() { return iterate(() => this.#now(), (pair) => pair[0]); }
  values() { return iterate(() => this.#now(), (pair) => pair[1]); }

  toString() { return formText(this.#now()); }
}

const iterate = iterating('URLSearchParams');

// Of a text whose `?` in front does not count.
const listOf = (query) => formList(query.charCodeAt(0) === 63 ? query.slice(1) : query);

const text = (value) => (typeof value === 'string' ? value : `${value}`).toWellFormed();

function matching(name, value) {
  const wanted = text(name);
  if (value === undefined) return (pair) => pair[0] === wanted;
  const exactly = text(value);
  return (pair) => pair[0] === wanted && pair[1] === exactly;
}

function ofSequence(init, method) {
  if (typeof method !== 'function') throw new TypeError('URLSearchParams: Symbol.iterator is no function');
  return Array.from(init, (item) => {
    if (item === null || (typeof item !== 'object' && typeof item !== 'function')) throw new TypeError('URLSearchParams: each item is a pair');
    const pair = [...item];
    if (pair.length !== 2) throw new TypeError('URLSearchParams: each item is a name and a value');
    return [text(pair[0]), text(pair[1])];
  });
}

function ofRecord(init) {
  const pairs = new Map(); // two keys may be the same once they are well-formed
  for (const key of Reflect.ownKeys(init)) {
    if (Reflect.getOwnPropertyDescriptor(init, key)?.enumerable) pairs.set(text(key), text(init[key]));
  }
  return [...pairs];
}

function need(given, count, name) {
  if (given.length < count) throw new TypeError(`URLSearchParams.${name}: ${count} arguments are needed, ${given.length} are given`);
}

Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, {
  value: URLSearchParams.prototype.entries, writable: true, configurable: true, enumerable: false,
});
describeClass(URLSearchParams, ['size', 'append', 'delete', 'get', 'getAll', 'has', 'set', 'sort', 'forEach', 'entries', 'keys', 'values', 'toString']);
describeClass(URL, [
  'href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'searchParams', 'hash',
  'toString', 'toJSON',
]);
urlParams(showing);

define({ URL, URLSearchParams });
export { URL, URLSearchParams };
