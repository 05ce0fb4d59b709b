// Request (Fetch Standard, section 5.4), without what only a page has.

const URL_ = 'https://a.example/p?q';

test(() => {
  const request = new Request(URL_);
  assert_equals(request.method, 'GET');
  assert_equals(request.url, URL_);
  assert_equals(request.body, null);
  assert_equals(request.bodyUsed, false);
  assert_equals(request.redirect, 'follow');
  assert_equals(request.integrity, '');
  assert_equals(request.keepalive, false);
  assert_equals(request.duplex, 'half');
  assert_true(request.signal instanceof AbortSignal);
  assert_equals(request.signal, request.signal);
  assert_true(request.headers instanceof Headers);
  assert_equals([...request.headers].length, 0);
}, 'a Request of a URL alone');
for (const name of ['method', 'url', 'headers', 'redirect', 'integrity', 'keepalive', 'signal', 'body', 'bodyUsed', 'duplex']) {
  test(() => {
    const descriptor = Object.getOwnPropertyDescriptor(Request.prototype, name);
    assert_true(descriptor.enumerable);
    assert_equals(descriptor.set, undefined);
    assert_throws_js(TypeError, () => descriptor.get.call({}));
    const request = new Request(URL_);
    request[name] = 'changed';
    assert_not_equals(request[name], 'changed');
  }, `${name} is an attribute that is only read`);
}
test(() => {
  assert_equals(Request.length, 1);
  assert_throws_js(TypeError, () => new Request());
  assert_throws_js(TypeError, () => Request(URL_));
  assert_equals(Object.prototype.toString.call(new Request(URL_)), '[object Request]');
}, 'the class is as Web IDL makes one');

for (const [given, expected] of [
  ['https://A.example', 'https://a.example/'], ['https://a.example/#f', 'https://a.example/#f'],
  [new URL('https://a.example/x'), 'https://a.example/x'], [{ toString: () => 'https://a.example/y' }, 'https://a.example/y'],
  [' https://a.example/\n', 'https://a.example/'],
]) {
  test(() => assert_equals(new Request(given).url, expected), `the URL ${JSON.stringify(String(given))}`);
}
for (const given of ['https://user@a.example/', 'https://:pass@a.example/', 'https://', 'http://a b/', '']) {
  test(() => assert_throws_js(TypeError, () => new Request(given)), `the URL ${JSON.stringify(given)} throws`);
}

for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']) {
  for (const given of [method, method.toLowerCase(), method[0] + method.slice(1).toLowerCase()]) {
    test(() => assert_equals(new Request(URL_, { method: given }).method, method), `the method ${given}`);
  }
}
for (const method of ['PATCH', 'patch', 'PaTcH', 'CHICKEN', 'chicken', '!#$%&\'*+-.^_`|~']) {
  test(() => assert_equals(new Request(URL_, { method }).method, method), `the method ${method} stays as it is`);
}
for (const method of ['CONNECT', 'connect', 'TRACE', 'Trace', 'TRACK', '', ' GET', 'GET ', 'A B', 'A\n', 'é', 'A,B', null + ' ']) {
  test(() => assert_throws_js(TypeError, () => new Request(URL_, { method })), `the method ${JSON.stringify(method)} throws`);
}
test(() => assert_equals(new Request(URL_, { method: undefined }).method, 'GET'), 'a method of undefined is not there');
test(() => assert_equals(new Request(URL_, { method: null }).method, 'null'), 'a method of null is a name');

for (const redirect of ['follow', 'error', 'manual']) {
  test(() => assert_equals(new Request(URL_, { redirect }).redirect, redirect), `redirect: ${redirect}`);
}
for (const redirect of ['', 'FOLLOW', 'none', null]) {
  test(() => assert_throws_js(TypeError, () => new Request(URL_, { redirect })), `redirect: ${JSON.stringify(redirect)} throws`);
}
for (const init of [1, 'x', true]) {
  test(() => assert_throws_js(TypeError, () => new Request(URL_, init)), `options of ${JSON.stringify(init)} throw`);
}
for (const init of [null, undefined, {}, () => {}]) {
  test(() => assert_equals(new Request(URL_, init).method, 'GET'), `options of ${init} are none`);
}
for (const [what, signal] of [
  ['a number', 1], ['text', 'x'], ['an object', {}], ['what looks like one', { aborted: false }], ['a controller', new AbortController()],
]) {
  test(() => assert_throws_js(TypeError, () => new Request(URL_, { signal })), `signal: ${what} throws`);
}
for (const duplex of ['full', '', null]) {
  test(() => assert_throws_js(TypeError, () => new Request(URL_, { method: 'POST', body: 'x', duplex })), `duplex: ${JSON.stringify(duplex)} throws`);
}
test(() => {
  assert_equals(new Request(URL_, { method: 'POST', body: new ReadableStream(), duplex: 'half' }).duplex, 'half');
}, 'duplex: half');

for (const method of ['GET', 'HEAD', 'get']) {
  for (const [what, body] of [
    ['text', 'x'], ['empty text', ''], ['bytes', new Uint8Array()], ['parameters', new URLSearchParams()], ['a stream', new ReadableStream()],
  ]) {
    test(() => {
      assert_throws_js(TypeError, () => new Request(URL_, { method, body, duplex: 'half' }));
    }, `${method} with a body of ${what} throws`);
  }
  test(() => assert_equals(new Request(URL_, { method, body: null }).body, null), `${method} with a body of null`);
}

promise_test(async (t) => {
  const first = new Request(URL_, { method: 'POST', body: 'text', headers: { a: '1' }, redirect: 'manual' });
  const second = new Request(first);
  assert_true(first.bodyUsed);
  assert_false(second.bodyUsed);
  assert_equals(second.method, 'POST');
  assert_equals(second.redirect, 'manual');
  assert_equals(second.headers.get('a'), '1');
  assert_equals(second.headers.get('content-type'), 'text/plain;charset=UTF-8');
  assert_equals(await second.text(), 'text');
  await promise_rejects_js(t, TypeError, first.text());
}, 'a Request of a Request takes its body');
promise_test(async () => {
  const first = new Request(URL_, { method: 'POST', body: 'one' });
  const second = new Request(first, { body: 'two' });
  assert_false(first.bodyUsed);
  assert_equals(await second.text(), 'two');
  assert_equals(await first.text(), 'one');
}, 'a body that is given leaves the other alone');
promise_test(async () => {
  const request = new Request(URL_, { method: 'POST', body: 'x' });
  await request.text();
  assert_throws_js(TypeError, () => new Request(request));
  new Request(request, { body: 'y' });
}, 'a Request whose body was read is not taken, but with another body');
promise_test(async () => {
  const request = new Request(URL_, { method: 'POST', body: 'x' });
  request.body.getReader();
  assert_throws_js(TypeError, () => new Request(request));
  assert_throws_js(TypeError, () => request.clone());
}, 'a Request whose body is locked is neither taken nor cloned');
test(() => {
  const first = new Request(URL_, { method: 'POST', body: 'x' });
  assert_throws_js(TypeError, () => new Request(first, { method: 'GET' }));
  assert_false(first.bodyUsed);
}, 'what throws leaves the body of the other Request');
promise_test(async () => {
  const request = new Request(URL_, { method: 'POST', body: 'text', headers: { a: '1' } });
  const copy = request.clone();
  copy.headers.set('a', '2');
  assert_equals(request.headers.get('a'), '1');
  assert_equals(await copy.text(), 'text');
  assert_false(request.bodyUsed);
  assert_equals(await request.text(), 'text');
  assert_throws_js(TypeError, () => request.clone());
}, 'a clone has a body of its own');
test(() => {
  const controller = new AbortController();
  const request = new Request(URL_, { signal: controller.signal });
  assert_not_equals(request.signal, controller.signal);
  const [copy, taken] = [request.clone(), new Request(request)];
  controller.abort('why');
  for (const each of [request, copy, taken]) {
    assert_true(each.signal.aborted);
    assert_equals(each.signal.reason, 'why');
  }
}, "a Request's signal follows the one that is given; so do those of clones");
test(() => {
  assert_true(new Request(URL_, { signal: AbortSignal.abort() }).signal.aborted);
  const controller = new AbortController();
  const request = new Request(new Request(URL_, { signal: controller.signal }), { signal: null });
  controller.abort();
  assert_false(request.signal.aborted);
}, 'a signal that is aborted already; a signal of null parts them');
test(() => {
  const order = [];
  const init = {};
  for (const name of ['body', 'duplex', 'headers', 'method', 'redirect', 'signal']) {
    Object.defineProperty(init, name, { enumerable: true, get() { order.push(name); return undefined; } });
  }
  new Request(URL_, init);
  assert_array_equals(order, ['body', 'duplex', 'headers', 'method', 'redirect', 'signal']);
}, 'options are read once each, in the order of their names');
test(() => {
  class Sub extends Request {}
  const request = new Sub(URL_);
  assert_true(request instanceof Sub && request instanceof Request);
}, 'Request can be extended');
