// URLPattern (URL Pattern Standard): construction, matching, groups.

const all = (value) => ({ input: value, groups: { 0: value } });

// [pattern, base], [input, base], expected groups by component, or null for no match.
for (const [pattern, input, expected] of [
  [[{ pathname: '/foo/bar' }], [{ pathname: '/foo/bar' }], { pathname: {} }],
  [[{ pathname: '/foo/bar' }], [{ pathname: '/foo/bar/baz' }], null],
  [[{ pathname: '/foo/bar' }], ['https://a.example/foo/bar'], { pathname: {} }],
  [[{ pathname: '/foo/:bar' }], [{ pathname: '/foo/x' }], { pathname: { bar: 'x' } }],
  [[{ pathname: '/foo/:bar' }], [{ pathname: '/foo/' }], null],
  [[{ pathname: '/foo/:bar?' }], [{ pathname: '/foo' }], { pathname: { bar: undefined } }],
  [[{ pathname: '/foo/:bar+' }], [{ pathname: '/foo/a/b' }], { pathname: { bar: 'a/b' } }],
  [[{ pathname: '/foo/:bar+' }], [{ pathname: '/foo' }], null],
  [[{ pathname: '/foo/:bar*' }], [{ pathname: '/foo' }], { pathname: { bar: undefined } }],
  [[{ pathname: '/foo/*' }], [{ pathname: '/foo/a/b' }], { pathname: { 0: 'a/b' } }],
  [[{ pathname: '/*/:x/*' }], [{ pathname: '/a/b/c/d' }], { pathname: { 0: 'a/b', x: 'c', 1: 'd' } }],
  [[{ pathname: '/(\\d+)' }], [{ pathname: '/42' }], { pathname: { 0: '42' } }],
  [[{ pathname: '/:id(\\d+)' }], [{ pathname: '/x' }], null],
  [[{ pathname: '/a{b}?c' }], [{ pathname: '/ac' }], { pathname: {} }],
  [[{ pathname: '/a{b}+c' }], [{ pathname: '/abbc' }], { pathname: {} }],
  [[{ pathname: '/{:a}-{:b}' }], [{ pathname: '/x-y' }], { pathname: { a: 'x', b: 'y' } }],
  [[{ pathname: '/\\:a' }], [{ pathname: '/:a' }], { pathname: {} }],
  [[{ pathname: '/caf\u00e9' }], [{ pathname: '/caf%C3%A9' }], { pathname: {} }],
  [[{ pathname: '/:caf\u00e9' }], [{ pathname: '/x' }], { pathname: { 'caf\u00e9': 'x' } }],
  [[{ protocol: 'http{s}?' }], ['https://a.example/'], { protocol: {} }],
  [[{ protocol: 'http' }], ['https://a.example/'], null],
  [[{ hostname: '*.example' }], ['https://a.b.example/'], { hostname: { 0: 'a.b' } }],
  [[{ hostname: ':sub.a.example' }], ['https://x.a.example/'], { hostname: { sub: 'x' } }],
  [[{ hostname: ':sub.a.example' }], ['https://x.y.a.example/'], null],
  [[{ hostname: 'A.Example' }], ['https://a.example/'], { hostname: {} }],
  [[{ hostname: '{[\\:\\:1]}' }], ['http://[::1]/'], { hostname: {} }],
  [[{ port: '8080' }], ['http://a.example:8080/'], { port: {} }],
  [[{ protocol: 'https', port: '443' }], ['https://a.example/'], { port: {} }],
  [[{ search: 'q=:word' }], ['https://a.example/?q=x'], { search: { word: 'x' } }],
  [[{ search: '' }], ['https://a.example/?q'], null],
  [[{ hash: ':part' }], ['https://a.example/#top'], { hash: { part: 'top' } }],
  [[{ username: 'u', password: '*' }], ['https://u:p@a.example/'], { username: {}, password: { 0: 'p' } }],
  [['https://a.example/foo/:bar'], ['https://a.example/foo/x'], { pathname: { bar: 'x' } }],
  [['https://a.example/foo/:bar'], ['https://a.example/foo/x?q#h'], { pathname: { bar: 'x' }, search: { 0: 'q' } }],
  [['https://*.example/*\\?*'], ['https://b.example/p?q=1'], { hostname: { 0: 'b' }, pathname: { 0: 'p' }, search: { 0: 'q=1' } }],
  [['/foo/:bar', 'https://a.example'], ['https://a.example/foo/x'], { pathname: { bar: 'x' } }],
  [['/foo/:bar', 'https://a.example'], ['https://b.example/foo/x'], null],
  [['/foo', 'https://a.example'], ['/foo', 'https://a.example'], { pathname: {} }],
  [['?q=:x', 'https://a.example/p'], ['https://a.example/p?q=1'], { search: { x: '1' } }],
  [['https://a.example:8*/'], ['https://a.example:8080/'], { port: { 0: '080' } }],
  [['data\\:*'], ['data:text/plain,x'], { pathname: { 0: 'text/plain,x' } }],
  [[{ pathname: '/foo', baseURL: 'https://a.example/x?y' }], ['https://a.example/foo'], { pathname: {} }],
  [[{ pathname: 'foo', baseURL: 'https://a.example/x/y' }], ['https://a.example/x/foo'], { pathname: {} }],
  [[{ pathname: '/A' }], [{ pathname: '/a' }], null],
  [[{ pathname: '/A' }, { ignoreCase: true }], [{ pathname: '/a' }], { pathname: {} }],
  [['/A', 'https://a.example', { ignoreCase: true }], ['https://a.example/a'], { pathname: {} }],
  [[{}], ['https://a.example/x'], { pathname: { 0: '/x' } }],
  [[], ['https://a.example/x'], { pathname: { 0: '/x' } }],
  [[{ pathname: '/foo' }], ['no URL'], null],
  [[{ pathname: '/foo' }], ['/foo'], null],
]) {
  test(() => {
    const made = new URLPattern(...pattern);
    const found = made.exec(...input);
    assert_equals(made.test(...input), expected !== null, 'test');
    if (expected === null) {
      assert_equals(found, null);
      return;
    }
    assert_not_equals(found, null, 'exec');
    for (const [component, groups] of Object.entries(expected)) {
      const got = found[component].groups;
      assert_array_equals(Object.keys(got).sort(), Object.keys(groups).sort(), `${component}: names`);
      for (const [name, value] of Object.entries(groups)) assert_equals(got[name], value, `${component}: ${name}`);
    }
    assert_array_equals(found.inputs.map(String), input.map(String), 'inputs');
  }, `${JSON.stringify(pattern)} on ${JSON.stringify(input)}`);
}

for (const pattern of [
  ['/foo'], ['*'], [{ pathname: '/(' }], [{ pathname: '/:a/:a' }], [{ pathname: '/{a' }], [{ pathname: '/(?:x' }], [{ pathname: '/*+?' }],
  [{ pathname: '/(\\m)' }], [{ port: 'x' }], [{ port: '99999' }], [{ hostname: 'a b' }], [{ pathname: '/a' }, 'https://a.example'],
  ['/foo', 'not a base'], ['https://a.example:'.repeat(2)], [{ pathname: '/', baseURL: 'x' }], [{ pathname: '/(\u00e9)' }],
]) {
  test(() => assert_throws_js(TypeError, () => new URLPattern(...pattern)), `the pattern ${JSON.stringify(pattern)} throws`);
}

test(() => {
  const pattern = new URLPattern('https://a.example/:x');
  assert_equals(pattern.protocol, 'https');
  assert_equals(pattern.username, '*');
  assert_equals(pattern.password, '*');
  assert_equals(pattern.hostname, 'a.example');
  assert_equals(pattern.port, '');
  assert_equals(pattern.pathname, '/:x');
  assert_equals(pattern.search, '*');
  assert_equals(pattern.hash, '*');
  assert_false(pattern.hasRegExpGroups);
  assert_true(new URLPattern({ pathname: '/(\\d)' }).hasRegExpGroups);
}, 'components of a pattern of a string');
test(() => {
  const pattern = new URLPattern({ pathname: '/:x(.*)/{a}/(.*)' });
  assert_equals(pattern.pathname, '/:x(.*)/a/*');
  assert_equals(pattern.search, '*');
}, 'components are in their shortest form');
for (const name of ['protocol', 'username', 'password', 'hostname', 'port', 'pathname', 'search', 'hash', 'hasRegExpGroups']) {
  test(() => {
    const descriptor = Object.getOwnPropertyDescriptor(URLPattern.prototype, name);
    assert_true(descriptor.enumerable);
    assert_equals(descriptor.set, undefined);
    assert_throws_js(TypeError, () => descriptor.get.call({}));
  }, `${name} is an attribute that is only read`);
}
test(() => {
  assert_throws_js(TypeError, () => URLPattern({}));
  assert_equals(Object.prototype.toString.call(new URLPattern()), '[object URLPattern]');
  for (const name of ['test', 'exec']) assert_true(Object.getOwnPropertyDescriptor(URLPattern.prototype, name).enumerable, name);
}, 'the class is as Web IDL makes one');
test(() => {
  const pattern = new URLPattern({ pathname: '/foo' });
  assert_throws_js(TypeError, () => pattern.test({ pathname: '/foo' }, 'https://a.example'));
  assert_throws_js(TypeError, () => pattern.exec({ pathname: '/foo' }, 'https://a.example'));
}, 'parts of a URL and a base do not go together');
test(() => {
  const found = new URLPattern({ pathname: '/:a' }).exec('https://u:p@h.example:8080/x?s#f');
  assert_object_equals(found.protocol, all('https'));
  assert_object_equals(found.username, all('u'));
  assert_object_equals(found.password, all('p'));
  assert_object_equals(found.hostname, all('h.example'));
  assert_object_equals(found.port, all('8080'));
  assert_object_equals(found.pathname, { input: '/x', groups: { a: 'x' } });
  assert_object_equals(found.search, all('s'));
  assert_object_equals(found.hash, all('f'));
}, 'a result has each component');
