// Headers (Fetch Standard, section 5.1): construction, names and values, order, iteration.

const pairs = (headers) => [...headers].map(([name, value]) => `${name}=${value}`).join(' ');

for (const [what, init, expected] of [
  ['nothing', undefined, ''],
  ['an empty record', {}, ''],
  ['an empty sequence', [], ''],
  ['a record', { B: '2', a: '1' }, 'a=1 b=2'],
  ['pairs', [['b', '2'], ['A', '1']], 'a=1 b=2'],
  ['pairs with one name twice', [['a', '1'], ['A', '2']], 'a=1, 2'],
  ['Headers', new Headers({ a: '1' }), 'a=1'],
  ['a Map', new Map([['a', '1'], ['b', '2']]), 'a=1 b=2'],
  ['a generator', (function* () { yield ['x', 'y']; })(), 'x=y'],
  ['pairs that are iterable themselves', [new Set(['a', '1'])], 'a=1'],
  ['values that are no strings', { a: 1, b: null, c: undefined, d: true }, 'a=1 b=null c=undefined d=true'],
  ['values with spaces around', { a: ' \t1 \r\n', b: '\n\n' }, 'a=1 b='],
  ['a value with spaces inside', { a: '1  2' }, 'a=1  2'],
  ['a function with properties', Object.assign(() => {}, { a: '1' }), 'a=1'],
  ['values of Latin-1', { a: '\xe9' }, 'a=\xe9'],
]) {
  test(() => assert_equals(pairs(new Headers(init)), expected), `Headers of ${what}`);
}

for (const [what, init] of [
  ['null', null], ['a number', 1], ['a string', 'a: 1'], ['true', true], ['a symbol', Symbol('x')],
  ['a pair of one', [['a']]], ['a pair of three', [['a', 'b', 'c']]], ['a sequence of strings', ['ab']],
  ['a sequence of numbers', [1]], ['a name with a space', { 'a b': '1' }], ['an empty name', { '': '1' }],
  ['a name with a colon', { 'a:b': '1' }], ['a name beyond Latin-1', { '\u0100': '1' }], ['a name with é', { '\xe9': '1' }],
  ['a value with NUL', { a: 'x\0y' }], ['a value with a line feed', { a: 'x\ny' }],
  ['a value with a carriage return', { a: 'x\ry' }], ['a value beyond Latin-1', { a: '\u0100' }],
  ['a symbol as a name', { [Symbol('x')]: '1' }],
]) {
  test(() => assert_throws_js(TypeError, () => new Headers(init)), `Headers of ${what} throw`);
}

for (const [call, least] of [['append', 2], ['set', 2], ['get', 1], ['has', 1], ['delete', 1], ['forEach', 1]]) {
  test(() => {
    assert_equals(Headers.prototype[call].length, least);
    assert_throws_js(TypeError, () => new Headers()[call](...Array(least - 1).fill('a')));
    assert_throws_js(TypeError, () => Headers.prototype[call].call({}, 'a', 'b'));
  }, `${call} needs ${least} arguments, and Headers as its object`);
}

for (const call of ['append', 'set', 'get', 'has', 'delete']) {
  for (const name of ['', ' ', 'a b', 'a\n', '\u0100', '\xe9', 'a(', '"']) {
    test(() => assert_throws_js(TypeError, () => new Headers()[call](name, 'x')), `${call} refuses the name ${JSON.stringify(name)}`);
  }
}
for (const call of ['append', 'set']) {
  for (const value of ['\u0100', 'a\0', 'a\nb', 'a\rb', '\0']) {
    test(() => assert_throws_js(TypeError, () => new Headers()[call]('a', value)), `${call} refuses the value ${JSON.stringify(value)}`);
  }
}

test(() => {
  const headers = new Headers({ a: '1' });
  headers.append('A', '2');
  assert_equals(headers.get('a'), '1, 2');
  headers.set('a', '3');
  assert_equals(headers.get('A'), '3');
  assert_true(headers.has('a'));
  headers.delete('A');
  assert_equals(headers.get('a'), null);
  assert_false(headers.has('a'));
}, 'append joins, set replaces, delete removes; names know no case');
test(() => {
  const headers = new Headers([['a', '1'], ['b', '2'], ['a', '3']]);
  headers.set('a', '4');
  assert_equals(pairs(headers), 'a=4 b=2');
}, 'set leaves one of a name');
test(() => assert_equals(new Headers({ a: '' }).get('a'), ''), 'an empty value is a value');
test(() => {
  const [one, other] = [new Headers({ a: '1' }), new Headers()];
  for (const pair of one) other.append(...pair);
  one.set('a', '2');
  assert_equals(other.get('a'), '1');
}, 'Headers of Headers are a copy');
test(() => {
  const source = new Headers();
  source[Symbol.iterator] = function* () { yield ['q', 'r']; };
  assert_equals(pairs(new Headers(source)), 'q=r');
}, 'the iterator of Headers that are given is respected');

test(() => {
  const headers = new Headers();
  headers.append('set-cookie', 'a=1');
  headers.append('Set-Cookie', 'b=2');
  headers.append('x', 'y');
  assert_array_equals(headers.getSetCookie(), ['a=1', 'b=2']);
  assert_equals(headers.get('set-cookie'), 'a=1, b=2');
  assert_equals([...headers].length, 3);
  assert_equals(pairs(headers), 'set-cookie=a=1 set-cookie=b=2 x=y');
  headers.set('set-cookie', 'c=3');
  assert_array_equals(headers.getSetCookie(), ['c=3']);
  headers.delete('set-cookie');
  assert_array_equals(headers.getSetCookie(), []);
}, 'cookies stay apart');
test(() => {
  const headers = new Headers([['set-cookie', 'a'], ['set-cookie', ''], ['set-cookie', 'a']]);
  assert_array_equals(headers.getSetCookie(), ['a', '', 'a']);
}, 'cookies that are equal or empty are kept');

test(() => {
  const headers = new Headers([['b', '1'], ['a', '2'], ['c', '3']]);
  assert_array_equals([...headers.keys()], ['a', 'b', 'c']);
  assert_array_equals([...headers.values()], ['2', '1', '3']);
  assert_equals(Headers.prototype[Symbol.iterator], Headers.prototype.entries);
  const iterator = headers.entries();
  assert_equals(iterator[Symbol.iterator](), iterator);
  assert_equals(Object.prototype.toString.call(iterator), '[object Headers Iterator]');
  assert_equals(typeof Object.getPrototypeOf(iterator).next, 'function', 'next is of the prototype');
  assert_equals(Object.getPrototypeOf(Object.getPrototypeOf(iterator)), Object.getPrototypeOf(Object.getPrototypeOf([].values())));
  assert_throws_js(TypeError, () => Object.getPrototypeOf(iterator).next.call({}));
}, 'iteration is sorted by name');
test(() => {
  const headers = new Headers([['a', '1'], ['c', '3']]);
  const seen = [];
  for (const [name] of headers) {
    seen.push(name);
    if (name === 'a') headers.append('b', '2');
  }
  assert_array_equals(seen, ['a', 'b', 'c']);
}, 'what is added while it is iterated is seen');
test(() => {
  const headers = new Headers([['a', '1'], ['b', '2'], ['c', '3']]);
  const seen = [];
  for (const [name] of headers) {
    seen.push(name);
    headers.delete(name);
  }
  assert_array_equals(seen, ['a', 'c']);
}, 'what is deleted while it is iterated is left out by position');
test(() => {
  const headers = new Headers({ a: '1', b: '2' });
  const seen = [];
  const self = {};
  headers.forEach(function (value, name, all) { seen.push(this === self, value, name, all === headers); }, self);
  assert_array_equals(seen, [true, '1', 'a', true, true, '2', 'b', true]);
}, 'forEach gives value, name, and the Headers');
for (const callback of [undefined, null, 1, 'x', {}]) {
  test(() => assert_throws_js(TypeError, () => new Headers().forEach(callback)), `forEach refuses ${callback}`);
}
test(() => {
  const record = {};
  const log = [];
  const watched = new Proxy({ b: '1', a: '2' }, {
    ownKeys(target) { log.push('ownKeys'); return Reflect.ownKeys(target); },
    getOwnPropertyDescriptor(target, key) { log.push(`descriptor ${key}`); return Reflect.getOwnPropertyDescriptor(target, key); },
    get(target, key) { log.push(`get ${String(key)}`); return target[key]; },
  });
  new Headers(watched);
  assert_array_equals(log, ['get Symbol(Symbol.iterator)', 'ownKeys', 'descriptor b', 'get b', 'descriptor a', 'get a']);
}, 'a record is read as Web IDL reads it');
test(() => {
  const record = Object.create({ inherited: '1' });
  Object.defineProperty(record, 'hidden', { value: '1', enumerable: false });
  record.own = '1';
  assert_equals(pairs(new Headers(record)), 'own=1');
}, 'of a record only its own enumerable properties count');
test(() => {
  assert_equals(Object.prototype.toString.call(new Headers()), '[object Headers]');
  for (const name of ['append', 'delete', 'get', 'getSetCookie', 'has', 'set', 'entries', 'forEach', 'keys', 'values']) {
    assert_true(Object.getOwnPropertyDescriptor(Headers.prototype, name).enumerable, name);
  }
  assert_equals(Headers.length, 0);
  assert_throws_js(TypeError, () => Headers());
}, 'the class is as Web IDL makes one');
