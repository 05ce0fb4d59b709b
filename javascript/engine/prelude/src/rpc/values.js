// Values between two workers, as text: what structuredClone copies, but for what has insides that no text can carry.
//
// A list of nodes, each a JSON value or [tag, ...]; what contains others names them by their numbers. So neither rings
// nor depth are a matter for whoever reads it, and reading hostile text makes plain values or throws. Negative numbers
// are what JSON has no word for.

// How a result begins, and what was thrown instead of one.
export const RETURNED = '+';
export const THROWN = '-';

const WORDS = [undefined, NaN, Infinity, -Infinity, -0];
// Of an array that has nothing there.
const HOLE = Symbol('hole');
const HOLE_NUMBER = -1 - WORDS.length;
const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
const VIEWS = Object.fromEntries([
  Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array,
  BigInt64Array, BigUint64Array, DataView,
].map((view) => [view.name, view]));
const VIEW_NAME = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;

// -- to text --------------------------------------------------------------------------------------------------------

class Packer {
  nodes = [];
  #seen = new Map();
  // Containers whose contents are still to be added, with the way to each: depth costs no stack.
  #waiting = [];

  constructor(value, root) {
    this.first = this.#add(value, { name: root, from: null });
    for (let next = 0; next < this.#waiting.length; next++) {
      const { node, items, way } = this.#waiting[next];
      for (const [name, item] of items) {
        if (node[0] === 'o') node.push(name);
        node.push(item === HOLE ? HOLE_NUMBER : this.#add(item, { name, from: way }));
      }
    }
  }

  // The number of its node; of what JSON has no word for, that word's.
  #add(value, way) {
    switch (typeof value) {
      case 'string': case 'boolean':
        return this.#node(value);
      case 'undefined':
        return -1;
      case 'number': {
        const word = WORDS.findIndex((one) => Object.is(one, value));
        return word < 0 ? this.#node(value) : -1 - word;
      }
      case 'bigint':
        return this.#node(['n', String(value)]);
      case 'object':
        if (value === null) return this.#node(null);
        return this.#seen.get(value) ?? this.#object(value, way);
      default:
        throw refused(way, typeof value === 'symbol' ? 'a symbol' : 'a function', typeof value === 'function' ? STUBS : '');
    }
  }

  #node(node) {
    return this.nodes.push(node) - 1;
  }

  // Its number is known before what is in it, which may lead back to it.
  #container(value, way, node, items) {
    const at = this.#node(node);
    this.#seen.set(value, at);
    if (items.length) this.#waiting.push({ node, items, way });
    return at;
  }

  #object(value, way) {
    const kind = describe(value);
    if (kind === undefined) {
      const name = Object.getPrototypeOf(value)?.constructor?.name || 'value of a class';
      throw refused(way, `a ${name}`, ADVICE[name] ?? PLAIN);
    }
    return this.#container(value, way, kind.node, kind.items ?? []);
  }
}

// The node of an object, and [name, item] of each thing in it; undefined for what is of no kind that travels.
function describe(value) {
  if (Array.isArray(value)) {
    return { node: ['a'], items: Array.from(value, (item, index) => [index, index in value ? item : HOLE]) };
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return { node: ['o'], items: Object.entries(value) };
  if (value instanceof Date) return { node: ['d', value.getTime()] };
  if (value instanceof RegExp) return { node: ['r', value.source, value.flags] };
  if (value instanceof Map) return { node: ['m'], items: [...value].flatMap(([key, item]) => [['key', key], ['value', item]]) };
  if (value instanceof Set) return { node: ['s'], items: Array.from(value, (item) => ['item', item]) };
  if (value instanceof ArrayBuffer) return { node: ['b', new Uint8Array(value).toBase64()] };
  if (ArrayBuffer.isView(value)) {
    const name = value instanceof DataView ? 'DataView' : VIEW_NAME.call(value);
    if (!VIEWS[name]) return undefined;
    return { node: ['v', name, value.byteOffset, value.length ?? value.byteLength], items: [['buffer', value.buffer]] };
  }
  if (value instanceof Error) {
    const name = typeof value.name === 'string' && Object.hasOwn(ERRORS, value.name) ? value.name : 'Error';
    const items = Object.hasOwn(value, 'cause') ? [['cause', value.cause]] : [];
    return { node: ['e', name, String(value.message), String(value.name)], items };
  }
  return undefined;
}

function refused(way, what, advice) {
  let where = '';
  for (let at = way; at !== null; at = at.from) {
    where = at.from === null ? `${at.name}${where}` : typeof at.name === 'number' ? `[${at.name}]${where}` : `.${at.name}${where}`;
  }
  return new DOMException(`${where} is ${what}, which can't be passed to another worker here. ${advice}`.trimEnd(), 'DataCloneError');
}

const STUBS = 'Functions and stubs do not travel: pass values, and call a method of the other worker for what is left.';
const PLAIN = 'Pass plain objects, arrays, Map, Set, Date, Error, buffers and what JSON has.';
const HTTP = 'Use fetch() of the binding for requests, responses and streams.';
const ADVICE = {
  RpcTarget: STUBS, Request: HTTP, Response: HTTP, Headers: HTTP, ReadableStream: HTTP, WritableStream: HTTP,
};

// `root` is what a message calls the value. Throws a DataCloneError that names what can't be passed.
export function pack(value, root) {
  const { first, nodes } = new Packer(value, root);
  return JSON.stringify([first, nodes]);
}

// -- from text ------------------------------------------------------------------------------------------------------

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

function malformed() {
  return new TypeError('The other worker sent a value that can not be read.');
}

// Containers are made first, and filled when all of them are there.
function shell(node) {
  if (!Array.isArray(node)) return node;
  switch (node[0]) {
    case 'a': return [];
    case 'o': return {};
    case 'm': return new Map();
    case 's': return new Set();
    case 'd': return new Date(node[1] ?? NaN);
    case 'n': return BigInt(String(node[1]));
    case 'r': return new RegExp(String(node[1]), String(node[2]));
    case 'b': return Uint8Array.fromBase64(String(node[1])).buffer;
    case 'e': return remoteError(node);
    case 'v': return null;
    default: throw malformed();
  }
}

function remoteError([, kind, message, name]) {
  const error = new (Object.hasOwn(ERRORS, kind) ? ERRORS[kind] : Error)(String(message));
  if (name !== kind) define(error, 'name', String(name));
  // Where in the other worker, its log says; here is only where it was asked.
  define(error, 'remote', true);
  return error;
}

function define(target, name, value) {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}

// What `pack` made. Throws for any other text.
export function unpack(text) {
  const [first, nodes] = JSON.parse(text);
  if (!Array.isArray(nodes)) throw malformed();
  const made = nodes.map(shell);
  const get = (at) => {
    if (at < 0 && at > HOLE_NUMBER) return WORDS[-1 - at];
    if (!isCount(at) || at >= made.length) throw malformed();
    return made[at];
  };
  // Views before what has them in it.
  nodes.forEach((node, at) => {
    if (Array.isArray(node) && node[0] === 'v') made[at] = view(node, get(node[4]));
  });
  nodes.forEach((node, at) => {
    if (Array.isArray(node)) fill(made[at], node, get);
  });
  return get(first);
}

function view([, name, offset, length], buffer) {
  if (!Object.hasOwn(VIEWS, name) || !(buffer instanceof ArrayBuffer) || !isCount(offset) || !isCount(length)) throw malformed();
  return new VIEWS[name](buffer, offset, length);
}

function fill(made, node, get) {
  const items = node.slice(1);
  switch (node[0]) {
    case 'a':
      made.length = items.length;
      items.forEach((item, index) => { if (item !== HOLE_NUMBER) made[index] = get(item); });
      break;
    case 'o':
      for (let at = 0; at < items.length; at += 2) {
        // `__proto__` is a name like any other.
        Object.defineProperty(made, String(items[at]), { value: get(items[at + 1]), writable: true, enumerable: true, configurable: true });
      }
      break;
    case 'm':
      for (let at = 0; at < items.length; at += 2) made.set(get(items[at]), get(items[at + 1]));
      break;
    case 's':
      for (const item of items) made.add(get(item));
      break;
    case 'e':
      if (node.length > 4) define(made, 'cause', get(node[4]));
      break;
    default:
  }
}
