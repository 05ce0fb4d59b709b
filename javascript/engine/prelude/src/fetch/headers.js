// Headers: a list of names in lower case and values, in the order in which they came.
import { describeClass } from '../define.js';
import { headerName, headerValue, isAscii, latin1Decode, latin1Encode } from '../host.js';
import { iterating } from '../web/iterating.js';

let listOf;
let makeOf;
let copyOf;

class Headers {
  #list = [];
  #immutable = false;
  #sorted = null;

  static {
    listOf = (headers) => headers.#list;
    copyOf = (headers) => makeOf(headers.#list.map(([name, value]) => [name, value]), headers.#immutable);
    makeOf = (list, immutable) => {
      const headers = new Headers();
      headers.#list = list;
      headers.#immutable = immutable;
      return headers;
    };
  }

  constructor(init = undefined) {
    if (init === undefined) return;
    if (init === null || (typeof init !== 'object' && typeof init !== 'function')) {
      throw new TypeError('Headers: a record, or a sequence of pairs, is expected');
    }
    if (init instanceof Headers && init[Symbol.iterator] === Headers.prototype[Symbol.iterator]) {
      this.#list = init.#list.map(([name, value]) => [name, value]);
      return;
    }
    if (init[Symbol.iterator] === undefined || init[Symbol.iterator] === null) {
      for (const key of Reflect.ownKeys(init)) {
        const property = Reflect.getOwnPropertyDescriptor(init, key);
        if (property?.enumerable) this.append(key, init[key]);
      }
      return;
    }
    for (const pair of init) {
      if (pair === null || typeof pair !== 'object') throw new TypeError('Headers: each item is a pair');
      const parts = [...pair];
      if (parts.length !== 2) throw new TypeError('Headers: each item is a name and a value');
      this.append(parts[0], parts[1]);
    }
  }

  append(name, value) {
    need(arguments, 2, 'append');
    const [key, text] = [nameOf(name), valueOf(value)];
    this.#change();
    this.#list.push([key, text]);
  }

  set(name, value) {
    need(arguments, 2, 'set');
    const [key, text] = [nameOf(name), valueOf(value)];
    this.#change();
    const at = this.#list.findIndex(([other]) => other === key);
    if (at < 0) {
      this.#list.push([key, text]);
      return;
    }
    this.#list = this.#list.filter(([other], index) => other !== key || index === at);
    this.#list[this.#list.findIndex(([other]) => other === key)] = [key, text];
  }

  delete(name) {
    need(arguments, 1, 'delete');
    const key = nameOf(name);
    this.#change();
    this.#list = this.#list.filter(([other]) => other !== key);
  }

  get(name) {
    need(arguments, 1, 'get');
    const key = nameOf(name);
    const list = this.#list;
    let found = null;
    for (let at = 0; at < list.length; at++) {
      if (list[at][0] === key) found = found === null ? list[at][1] : `${found}, ${list[at][1]}`;
    }
    return found;
  }

  getAll(name) {
    if (nameOf(name) !== 'set-cookie') throw new TypeError('getAll() can only be used with the header name "Set-Cookie".');
    return this.getSetCookie();
  }

  getSetCookie() {
    return this.#list.filter(([name]) => name === 'set-cookie').map(([, value]) => value);
  }

  has(name) {
    need(arguments, 1, 'has');
    const key = nameOf(name);
    return this.#list.some(([other]) => other === key);
  }

  forEach(callback, self = undefined) {
    need(arguments, 1, 'forEach');
    if (typeof callback !== 'function') throw new TypeError('forEach: a function is expected');
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  entries() { return iterate(() => this.#inOrder(), (pair) => [pair[0], pair[1]]); }
  keys() { return iterate(() => this.#inOrder(), ([name]) => name); }
  values() { return iterate(() => this.#inOrder(), ([, value]) => value); }

  #change() {
    if (this.#immutable) throw new TypeError("Can't modify immutable headers.");
    this.#sorted = null;
  }

  // Names sorted, values of one name joined; but each cookie by itself.
  #inOrder() {
    if (this.#sorted) return this.#sorted;
    const joined = new Map();
    const cookies = [];
    for (const [name, value] of this.#list) {
      if (name === 'set-cookie') cookies.push(value);
      else joined.set(name, joined.has(name) ? `${joined.get(name)}, ${value}` : value);
    }
    const pairs = [...joined, ...cookies.map((value) => ['set-cookie', value])];
    this.#sorted = pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
    return this.#sorted;
  }
}

Object.defineProperty(Headers.prototype, Symbol.iterator, {
  value: Headers.prototype.entries, writable: true, configurable: true, enumerable: false,
});
describeClass(Headers, ['append', 'delete', 'get', 'getSetCookie', 'has', 'set', 'entries', 'forEach', 'keys', 'values']);

// What is added meanwhile is met, if it sorts behind.
const iterate = iterating('Headers');

function need(given, count, name) {
  if (given.length < count) throw new TypeError(`Headers.${name}: ${count} arguments are needed, ${given.length} are given`);
}

function nameOf(name) {
  const text = headerName(typeof name === 'string' ? name : String(name));
  if (text === null) throw new TypeError(`Invalid header name: ${JSON.stringify(String(name))}`);
  return text;
}

function valueOf(value) {
  const text = headerValue(typeof value === 'string' ? value : String(value));
  if (text === null) throw new TypeError('Invalid header value.');
  return text;
}

// -- to and from the host: a value that is not ASCII travels as bytes -----------------------------------------------

// Headers of a Request or Response of the host's; names are in lower case there.
export function headersFrom(pairs, immutable = true) {
  for (let at = 0; at < pairs.length; at++) {
    if (typeof pairs[at][1] !== 'string') pairs[at][1] = latin1Decode(pairs[at][1]);
  }
  return makeOf(pairs, immutable);
}

// They frame a connection, which is the host's to frame. Frameworks set them where they stream, proxies pass them on, and
// Workers pass over them. `upgrade` asks for something that there is not: the host says so.
const OF_A_CONNECTION = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding']);
const isOfAConnection = ([name]) => OF_A_CONNECTION.has(name);

export function pairsOf(headers) {
  const pairs = listOf(headers);
  return sendable(pairs.some(isOfAConnection) ? pairs.filter((pair) => !isOfAConnection(pair)) : pairs);
}

// Most are ASCII, and go as they are.
export function sendable(pairs) {
  for (let at = 0; at < pairs.length; at++) {
    if (typeof pairs[at][1] === 'string' && !isAscii(pairs[at][1])) {
      return pairs.map(([name, value]) => [name, isAscii(value) ? value : latin1Encode(value)]);
    }
  }
  return pairs;
}

// Of a request that goes out: whoever made its body knows how long it is (send.js), whatever was copied with other headers.
export function outgoing(headers, length = undefined) {
  const pairs = pairsOf(headers).filter(([name]) => name !== 'content-length');
  return length === undefined ? pairs : [...pairs, ['content-length', String(length)]];
}

// With the guard that the other has.
export { copyOf };

export { Headers };
