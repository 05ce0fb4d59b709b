// Body of Request and Response (Fetch Standard, section 5.3): what can be one, what type it gets, how it is read.

const bytesOf = (text) => new TextEncoder().encode(text);
const form = () => {
  const data = new FormData();
  data.append('name', 'value');
  data.append('file', new File(['content'], 'a.txt', { type: 'text/plain' }));
  return data;
};
const makers = [
  ['Response', (body, headers) => new Response(body, { headers })],
  ['Request', (body, headers) => new Request('https://a.example/', { method: 'POST', body, headers, duplex: 'half' })],
];
const bodies = [
  ['a string', () => 'text', 'text', 'text/plain;charset=UTF-8'],
  ['an empty string', () => '', '', 'text/plain;charset=UTF-8'],
  ['text beyond ASCII', () => 'é€😀', 'é€😀', 'text/plain;charset=UTF-8'],
  ['a lone surrogate', () => 'a\ud800b', 'a\ufffdb', 'text/plain;charset=UTF-8'],
  ['a number', () => 42, '42', 'text/plain;charset=UTF-8'],
  ['an object', () => ({}), '[object Object]', 'text/plain;charset=UTF-8'],
  ['an ArrayBuffer', () => bytesOf('text').buffer.slice(0, 4), 'text', null],
  ['a Uint8Array', () => bytesOf('text'), 'text', null],
  ['a part of a buffer', () => bytesOf('a text').subarray(2), 'text', null],
  ['a DataView', () => new DataView(bytesOf('a text').buffer, 2, 4), 'text', null],
  ['a Uint16Array', () => new Uint16Array(bytesOf('text').buffer.slice(0, 4)), 'text', null],
  ['a Blob', () => new Blob(['te', 'xt'], { type: 'text/X' }), 'text', 'text/x'],
  ['a Blob without a type', () => new Blob(['text']), 'text', null],
  ['URLSearchParams', () => new URLSearchParams({ a: '1 2' }), 'a=1+2', 'application/x-www-form-urlencoded;charset=UTF-8'],
  ['a stream', () => new Blob(['text']).stream(), 'text', null],
];
for (const [kind, make] of makers) {
  for (const [what, body, text, type] of bodies) {
    promise_test(async (t) => {
      const owner = make(body());
      assert_equals(owner.headers.get('content-type'), type);
      assert_true(owner.body instanceof ReadableStream);
      assert_false(owner.bodyUsed);
      const reading = owner.text();
      assert_true(owner.bodyUsed);
      assert_equals(await reading, text);
      for (const read of ['text', 'json', 'arrayBuffer', 'bytes', 'blob', 'formData']) {
        await promise_rejects_js(t, TypeError, owner[read](), read);
      }
    }, `${kind} with ${what}`);
    promise_test(async () => {
      assert_equals(make(body(), { 'content-type': 'a/b' }).headers.get('content-type'), 'a/b');
    }, `${kind} with ${what} keeps a content type that is given`);
    promise_test(async () => {
      const bytes = await make(body()).bytes();
      assert_true(bytes instanceof Uint8Array);
      assert_array_equals(bytes, bytesOf(text));
      const buffer = await make(body()).arrayBuffer();
      assert_true(buffer instanceof ArrayBuffer);
      assert_array_equals(new Uint8Array(buffer), bytesOf(text));
      const blob = await make(body()).blob();
      assert_true(blob instanceof Blob);
      assert_equals(blob.type, type === null ? '' : type.toLowerCase());
      assert_equals(await blob.text(), text);
    }, `${kind} with ${what}, as bytes`);
    promise_test(async () => {
      const reader = make(body()).body.getReader();
      const parts = [];
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        assert_true(value instanceof Uint8Array);
        parts.push(...value);
      }
      assert_array_equals(parts, [...bytesOf(text)]);
    }, `${kind} with ${what}, as a stream`);
  }
  for (const read of ['text', 'json', 'arrayBuffer', 'bytes', 'blob', 'formData']) {
    promise_test(async (t) => {
      const reading = make('x').constructor.prototype[read].call({});
      assert_true(reading instanceof Promise);
      await promise_rejects_js(t, TypeError, reading);
    }, `${kind}.${read} on another object rejects`);
    promise_test(async (t) => {
      const owner = make('{}');
      owner.body.getReader();
      await promise_rejects_js(t, TypeError, owner[read]());
    }, `${kind}.${read} of a locked body rejects`);
    promise_test(async (t) => {
      const error = new Error('mine');
      const owner = make(new ReadableStream({ pull(controller) { controller.error(error); } }), { 'content-type': 'multipart/form-data; boundary=a' });
      await promise_rejects_exactly(t, error, owner[read]());
    }, `${kind}.${read} of a stream that fails rejects with its error`);
    for (const chunk of ['text', 1, null, {}, new ArrayBuffer(1)]) {
      promise_test(async (t) => {
        const owner = make(new ReadableStream({ start(controller) { controller.enqueue(chunk); controller.close(); } }));
        await promise_rejects_js(t, TypeError, owner[read]());
      }, `${kind}.${read} of a stream with the chunk ${Object.prototype.toString.call(chunk)} rejects`);
    }
  }
  promise_test(async (t) => {
    for (const text of ['{"a":1}', '\ufeff{"a":1}']) assert_equals((await make(text).json()).a, 1);
    for (const text of ['', '{', 'undefined']) await promise_rejects_js(t, SyntaxError, make(text).json());
  }, `${kind}.json`);
  promise_test(async () => {
    assert_equals(await make(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).text(), 'a');
    assert_equals(await make(new Uint8Array([0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf, 0x61])).text(), '\ufeffa');
    assert_equals(await make(new Uint8Array([0xff, 0x61, 0xe2, 0x82])).text(), '\ufffda\ufffd');
  }, `${kind}.text decodes UTF-8, without its mark`);
  promise_test(async () => {
    const owner = make(form());
    assert_regexp_match(owner.headers.get('content-type'), /^multipart\/form-data; boundary=/);
    const read = await owner.formData();
    assert_equals(read.get('name'), 'value');
    const file = read.get('file');
    assert_true(file instanceof File);
    assert_equals(file.name, 'a.txt');
    assert_equals(file.type, 'text/plain');
    assert_equals(await file.text(), 'content');
  }, `${kind}.formData of a form`);
  promise_test(async () => {
    const read = await make('a=1&b=%C3%A9+x&a=2', { 'content-type': 'application/x-www-form-urlencoded' }).formData();
    assert_array_equals(read.getAll('a'), ['1', '2']);
    assert_equals(read.get('b'), 'é x');
  }, `${kind}.formData of an urlencoded form`);
  for (const type of ['text/plain', 'multipart/form-data', 'multipart/x; boundary=a', '']) {
    promise_test(async (t) => {
      await promise_rejects_js(t, TypeError, make('a=1', { 'content-type': type }).formData());
    }, `${kind}.formData of the type ${JSON.stringify(type)} rejects`);
  }
  for (const body of ['', '--a', '--b\r\n\r\n--b--', '--a\r\nx\r\n--a--', '--a\r\nContent-Disposition: form-data\r\n\r\n1\r\n--a--\r\n']) {
    promise_test(async (t) => {
      await promise_rejects_js(t, TypeError, make(body, { 'content-type': 'multipart/form-data; boundary=a' }).formData());
    }, `${kind}.formData of the multipart body ${JSON.stringify(body)} rejects`);
  }
  promise_test(async (t) => {
    const owner = make(null);
    assert_equals(owner.body, null);
    for (const read of ['text', 'text']) assert_equals(await owner[read](), '');
    assert_equals((await owner.arrayBuffer()).byteLength, 0);
    assert_equals((await owner.blob()).size, 0);
    assert_false(owner.bodyUsed);
    await promise_rejects_js(t, SyntaxError, owner.json());
    await promise_rejects_js(t, TypeError, owner.formData());
  }, `${kind} without a body reads as empty, as often as one likes`);
  promise_test(async () => {
    const stream = new Blob(['x']).stream();
    const reader = stream.getReader();
    assert_throws_js(TypeError, () => make(stream), 'locked');
    await reader.read();
    reader.releaseLock();
    assert_throws_js(TypeError, () => make(stream), 'disturbed');
    const cancelled = new ReadableStream();
    await cancelled.cancel();
    assert_throws_js(TypeError, () => make(cancelled), 'cancelled');
  }, `${kind} refuses a stream that is locked or was read from`);
  promise_test(async (t) => {
    const owner = make('text');
    const { body } = owner;
    assert_equals(owner.body, body);
    assert_false(owner.bodyUsed);
    assert_false(body.locked);
    await body.cancel();
    assert_true(owner.bodyUsed);
    await promise_rejects_js(t, TypeError, owner.text());
  }, `${kind} whose body was cancelled is used`);
  promise_test(async (t) => {
    const owner = make('text');
    const reader = owner.body.getReader();
    await reader.read();
    assert_true(owner.bodyUsed);
    reader.releaseLock();
    await promise_rejects_js(t, TypeError, owner.text());
  }, `${kind} whose body was read from is used`);
  promise_test(async () => {
    const owner = make('text');
    owner.body.getReader().releaseLock();
    assert_false(owner.bodyUsed);
    assert_equals(await owner.text(), 'text');
  }, `${kind} whose body was locked for a while is not used`);
  promise_test(async () => {
    const owner = make('text');
    const pending = owner.text();
    assert_true(owner.bodyUsed);
    assert_true(owner.body.locked, 'and locked');
    await pending;
  }, `${kind} whose body is being read is locked`);
  promise_test(async () => {
    const view = new Uint8Array([1, 2]);
    const owner = make(view);
    view[0] = 9;
    assert_array_equals(await owner.bytes(), [1, 2]);
  }, `${kind} copies the bytes that it is given`);
  promise_test(async () => {
    const reader = make('text').body.getReader({ mode: 'byob' });
    const { value } = await reader.read(new Uint8Array(2));
    assert_equals(new TextDecoder().decode(value), 'te');
  }, `the body of ${kind} can be read into a buffer`);
  promise_test(async () => {
    const [one, other] = make('text').body.tee();
    assert_equals(await new Response(one).text(), 'text');
    assert_equals(await new Response(other).text(), 'text');
  }, `the body of ${kind} can be teed`);
  promise_test(async () => {
    const through = make('text').body.pipeThrough(new TextDecoderStream());
    let text = '';
    for await (const part of through) text += part;
    assert_equals(text, 'text');
  }, `the body of ${kind} can be piped`);
}
