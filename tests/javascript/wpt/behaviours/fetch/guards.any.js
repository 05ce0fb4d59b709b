// Guards of Headers: who may not change what (Fetch Standard, section 5.1). Workers have no "request-no-cors" and
// forbid no name of a request's headers: a worker is no page.

const changes = [
  ['append', (headers) => headers.append('a', '1')],
  ['set', (headers) => headers.set('a', '1')],
  ['delete', (headers) => headers.delete('content-type')],
];
for (const [name, change] of changes) {
  test(() => {
    assert_throws_js(TypeError, () => change(Response.error().headers));
  }, `${name} on the headers of Response.error() throws`);
  test(() => {
    assert_throws_js(TypeError, () => change(Response.redirect('https://a.example/').headers));
  }, `${name} on the headers of Response.redirect() throws`);
  test(() => change(new Response('x').headers), `${name} on the headers of a new Response works`);
  test(() => change(Response.json({}).headers), `${name} on the headers of Response.json() works`);
  test(() => change(new Request('https://a.example/').headers), `${name} on the headers of a new Request works`);
  test(() => {
    const redirect = Response.redirect('https://a.example/');
    change(new Response(null, redirect).headers);
  }, `${name} on the headers of a Response made of one with immutable headers works`);
}
test(() => {
  const immutable = Response.redirect('https://a.example/').headers;
  assert_throws_js(TypeError, () => immutable.append('a b', '1'));
  assert_throws_js(TypeError, () => immutable.append('a', 'x\n\ny'));
  assert_equals(immutable.get('location'), 'https://a.example/');
}, 'a bad name or value is told before the guard');
test(() => {
  assert_throws_js(TypeError, () => Response.redirect('https://a.example/').clone().headers.set('a', '1'));
}, 'a clone of a Response keeps its guard');
test(() => {
  const first = new Request('https://a.example/', { headers: { a: '1' } });
  const second = new Request(first, { headers: { b: '2' } });
  assert_equals(second.headers.get('a'), null);
  assert_equals(second.headers.get('b'), '2');
  assert_equals(new Request(first).headers.get('a'), '1');
}, "headers that are given take the place of another Request's");
test(() => {
  const first = new Request('https://a.example/', { headers: { a: '1' } });
  const second = new Request(first);
  second.headers.set('a', '2');
  assert_equals(first.headers.get('a'), '1');
}, "a Request's headers are its own");
test(() => {
  const request = new Request('https://a.example/');
  assert_equals(request.headers, request.headers);
  const response = new Response();
  assert_equals(response.headers, response.headers);
}, 'headers are the same object each time');
test(() => {
  const headers = new Headers({ a: '1' });
  const response = new Response(null, { headers });
  assert_not_equals(response.headers, headers);
  headers.set('a', '2');
  assert_equals(response.headers.get('a'), '1');
}, 'headers that are given are copied');
