// Response (Fetch Standard, section 5.5).

test(() => {
  const response = new Response();
  assert_equals(response.type, 'default');
  assert_equals(response.url, '');
  assert_equals(response.redirected, false);
  assert_equals(response.status, 200);
  assert_equals(response.ok, true);
  assert_equals(response.statusText, '');
  assert_equals(response.body, null);
  assert_equals(response.bodyUsed, false);
  assert_equals([...response.headers].length, 0);
}, 'a Response of nothing');
for (const name of ['type', 'url', 'redirected', 'status', 'ok', 'statusText', 'headers', 'body', 'bodyUsed']) {
  test(() => {
    const descriptor = Object.getOwnPropertyDescriptor(Response.prototype, name);
    assert_true(descriptor.enumerable);
    assert_equals(descriptor.set, undefined);
    assert_throws_js(TypeError, () => descriptor.get.call({}));
    const response = new Response();
    response[name] = 'changed';
    assert_not_equals(response[name], 'changed');
  }, `${name} is an attribute that is only read`);
}
test(() => {
  assert_equals(Response.length, 0);
  assert_throws_js(TypeError, () => Response());
  assert_equals(Object.prototype.toString.call(new Response()), '[object Response]');
  for (const name of ['error', 'redirect', 'json']) {
    const descriptor = Object.getOwnPropertyDescriptor(Response, name);
    assert_true(descriptor.enumerable && descriptor.writable && descriptor.configurable, name);
  }
}, 'the class is as Web IDL makes one');

for (const status of [200, 201, 299, 300, 404, 500, 599, '404', 404.9, 65536 + 200]) {
  test(() => {
    const response = new Response(null, { status });
    const expected = Math.trunc(Number(status)) % 65536;
    assert_equals(response.status, expected);
    assert_equals(response.ok, expected < 300);
  }, `status ${JSON.stringify(status)}`);
}
for (const status of [0, 100, 102, 199, 600, 1000, -1, NaN, null, 'x']) {
  test(() => assert_throws_js(RangeError, () => new Response(null, { status })), `status ${status} throws`);
}
for (const status of [204, 205, 304]) {
  test(() => assert_throws_js(TypeError, () => new Response('', { status })), `status ${status} with a body throws`);
  test(() => assert_throws_js(TypeError, () => Response.json(null, { status })), `Response.json with status ${status} throws`);
  test(() => assert_equals(new Response(null, { status }).status, status), `status ${status} without a body`);
}
for (const statusText of ['', 'Not Found', 'a\tb', '\xff', '!']) {
  test(() => assert_equals(new Response(null, { statusText }).statusText, statusText), `statusText ${JSON.stringify(statusText)}`);
}
for (const statusText of ['\n', '\r', '\0', '\x7f', '\u0100', 'a\nb']) {
  test(() => assert_throws_js(TypeError, () => new Response(null, { statusText })), `statusText ${JSON.stringify(statusText)} throws`);
}
for (const init of [1, 'x', false]) {
  test(() => assert_throws_js(TypeError, () => new Response(null, init)), `options of ${JSON.stringify(init)} throw`);
}
test(() => {
  const order = [];
  const init = {};
  for (const name of ['headers', 'status', 'statusText']) {
    Object.defineProperty(init, name, { enumerable: true, get() { order.push(name); return undefined; } });
  }
  new Response(null, init);
  assert_array_equals(order, ['headers', 'status', 'statusText']);
}, 'options are read once each, in the order of their names');

test(() => {
  const response = Response.error();
  assert_equals(response.type, 'error');
  assert_equals(response.status, 0);
  assert_equals(response.ok, false);
  assert_equals(response.statusText, '');
  assert_equals(response.body, null);
  assert_equals([...response.headers].length, 0);
  assert_equals(response.clone().type, 'error');
}, 'Response.error()');

for (const status of [301, 302, 303, 307, 308]) {
  test(() => {
    const response = Response.redirect('https://a.example/é#f', status);
    assert_equals(response.status, status);
    assert_equals(response.headers.get('location'), 'https://a.example/%C3%A9#f');
    assert_equals(response.type, 'default');
    assert_equals(response.redirected, false);
    assert_equals(response.body, null);
  }, `Response.redirect with ${status}`);
}
test(() => assert_equals(Response.redirect('https://a.example').status, 302), 'Response.redirect is 302 by itself');
for (const status of [200, 300, 304, 305, 309, 400, 0, null]) {
  test(() => assert_throws_js(RangeError, () => Response.redirect('https://a.example', status)), `Response.redirect with ${status} throws`);
}
for (const url of ['http://:a', 'http://a b/', 'https://']) {
  test(() => assert_throws_js(TypeError, () => Response.redirect(url)), `Response.redirect to ${JSON.stringify(url)} throws`);
}

for (const [data, text] of [[{ a: [1] }, '{"a":[1]}'], ['x', '"x"'], [null, 'null'], [1, '1'], [[], '[]'], ['\ud800', '"\\ud800"']]) {
  promise_test(async () => {
    const response = Response.json(data);
    assert_equals(response.headers.get('content-type'), 'application/json');
    assert_equals(response.status, 200);
    assert_equals(await response.text(), text);
  }, `Response.json of ${text}`);
}
for (const [what, data] of [['undefined', undefined], ['a symbol', Symbol('x')], ['a function', () => {}]]) {
  test(() => assert_throws_js(TypeError, () => Response.json(data)), `Response.json of ${what} throws`);
}
test(() => {
  const circle = {};
  circle.circle = circle;
  assert_throws_js(TypeError, () => Response.json(circle));
  const error = new RangeError('mine');
  assert_throws_exactly(error, () => Response.json({ get a() { throw error; } }));
  assert_throws_js(TypeError, () => Response.json());
}, 'Response.json throws what JSON.stringify throws');
promise_test(async () => {
  const response = Response.json({}, { status: 201, statusText: 'Made', headers: { 'content-type': 'text/x', a: '1' } });
  assert_equals(response.status, 201);
  assert_equals(response.statusText, 'Made');
  assert_equals(response.headers.get('content-type'), 'text/x');
  assert_equals(response.headers.get('a'), '1');
}, 'Response.json takes options, and keeps a content type');
for (const status of [101, 204, 205, 304]) {
  test(() => assert_throws_js(TypeError, () => Response.json('', { status })), `Response.json with ${status} throws a TypeError`);
}

promise_test(async () => {
  const response = new Response('text', { status: 201, statusText: 'Made', headers: { a: '1' } });
  const copy = response.clone();
  assert_equals(copy.status, 201);
  assert_equals(copy.statusText, 'Made');
  copy.headers.set('a', '2');
  assert_equals(response.headers.get('a'), '1');
  assert_equals(await response.text(), 'text');
  assert_throws_js(TypeError, () => response.clone());
  assert_equals(await copy.text(), 'text');
}, 'a clone is a copy, and has a body of its own');
promise_test(async () => {
  let pulls = 0;
  const response = new Response(new ReadableStream({
    pull(controller) {
      pulls += 1;
      if (pulls > 3) controller.close();
      else controller.enqueue(new Uint8Array([pulls]));
    },
  }));
  const copy = response.clone();
  assert_array_equals(await response.bytes(), [1, 2, 3]);
  assert_array_equals(await copy.bytes(), [1, 2, 3]);
}, 'a clone of a streamed body reads it too');
promise_test(async () => {
  const source = new Uint8Array([1, 2]);
  const response = new Response(new ReadableStream({ start(controller) { controller.enqueue(source); controller.close(); } }));
  const copy = response.clone();
  const [one] = await Promise.all([response.body.getReader().read(), 0]);
  one.value[0] = 9;
  assert_array_equals(await copy.bytes(), [1, 2]);
}, 'chunks of a clone are not shared');
test(() => {
  const response = new Response('x');
  response.body.getReader();
  assert_throws_js(TypeError, () => response.clone());
}, 'a Response whose body is locked is not cloned');
test(() => {
  class Sub extends Response {}
  assert_true(new Sub('x') instanceof Sub);
}, 'Response can be extended');
