// CompressionStream and DecompressionStream (Compression Standard).

const FORMATS = ['gzip', 'deflate', 'deflate-raw'];
const text = 'an expected text, an expected text. ';
const whole = (stream) => new Response(stream).bytes();
const stream = (...parts) => new ReadableStream({ start(controller) { parts.forEach((part) => controller.enqueue(part)); controller.close(); } });
const encoded = new TextEncoder().encode(text.repeat(50));
const unpack = (bytes, format) => whole(stream(...bytes).pipeThrough(new DecompressionStream(format)));

// "expected output" as other programs compress it.
const SAMPLES = {
  gzip: 'H4sIAAAAAAACA0utKEhNLklNUcgvLSkoLQEAsAE5sw8AAAA=',
  deflate: 'eNpLrShITS5JTVHILy0pKC0BADCtBiQ=',
  'deflate-raw': 'S60oSE0uSU1RyC8tKSgtAQA=',
};
const sample = (format) => Uint8Array.from(atob(SAMPLES[format]), (one) => one.charCodeAt(0));

for (const Class of [CompressionStream, DecompressionStream]) {
  for (const format of ['', 'GZIP', 'brotli', 'zip', null, undefined, 1]) {
    test(() => assert_throws_js(TypeError, () => new Class(format)), `${Class.name} refuses the format ${JSON.stringify(format)}`);
  }
  test(() => {
    assert_throws_js(TypeError, () => new Class());
    assert_throws_js(TypeError, () => Class('gzip'));
    assert_equals(Class.length, 1);
    const made = new Class('gzip');
    assert_true(made.readable instanceof ReadableStream);
    assert_true(made.writable instanceof WritableStream);
    assert_equals(made.readable, made.readable);
    assert_equals(Object.prototype.toString.call(made), `[object ${Class.name}]`);
    for (const name of ['readable', 'writable']) {
      const descriptor = Object.getOwnPropertyDescriptor(Class.prototype, name);
      assert_true(descriptor.enumerable);
      assert_throws_js(TypeError, () => descriptor.get.call({}));
    }
  }, `${Class.name} is a class as Web IDL makes one`);
  for (const chunk of [undefined, null, 3.14, 'text', {}, ['x'], true]) {
    promise_test(async (t) => {
      const { readable, writable } = new Class('gzip');
      const [reader, writer] = [readable.getReader(), writable.getWriter()];
      const [writing, reading] = [writer.write(chunk), reader.read()];
      await promise_rejects_js(t, TypeError, writing, 'write');
      await promise_rejects_js(t, TypeError, reading, 'read');
    }, `${Class.name} refuses the chunk ${JSON.stringify(chunk)}`);
  }
}
for (const format of FORMATS) {
  promise_test(async () => {
    const packed = await whole(stream(encoded).pipeThrough(new CompressionStream(format)));
    assert_less_than(packed.length, encoded.length / 4);
    assert_array_equals(await unpack([packed], format), encoded);
  }, `${format}: what is compressed comes back`);
  promise_test(async () => {
    const packed = await whole(stream().pipeThrough(new CompressionStream(format)));
    assert_greater_than(packed.length, 0);
    assert_equals((await unpack([packed], format)).length, 0);
  }, `${format}: nothing`);
  for (const [what, parts] of [
    ['empty chunks', [new Uint8Array(), encoded, new Uint8Array(), new Uint8Array()]],
    ['chunks of a few bytes', Array.from({ length: 20 }, (_, at) => encoded.slice(at * 90, at * 90 + 90))],
    ['a buffer', [encoded.buffer.slice(encoded.byteOffset, encoded.byteOffset + encoded.length)]],
    ['other views', [new DataView(encoded.slice().buffer), new Uint16Array(encoded.slice().buffer)]],
  ]) {
    promise_test(async () => {
      const bytes = [];
      for (const part of parts) bytes.push(...new Uint8Array(part.buffer ?? part));
      const packed = await whole(stream(...parts).pipeThrough(new CompressionStream(format)));
      assert_array_equals(await unpack([packed], format), bytes);
    }, `${format}: ${what}`);
  }
  promise_test(async () => {
    assert_equals(new TextDecoder().decode(await unpack([sample(format)], format)), 'expected output');
  }, `${format}: what others compressed`);
  promise_test(async () => {
    const bytes = sample(format);
    assert_equals(new TextDecoder().decode(await unpack([...bytes].map((one) => Uint8Array.of(one)), format)), 'expected output');
  }, `${format}: what others compressed, byte by byte`);
  promise_test(async (t) => {
    await promise_rejects_js(t, TypeError, unpack([sample(format).slice(0, -1)], format));
  }, `${format}: what ends too early is an error`);
  promise_test(async (t) => {
    await promise_rejects_js(t, TypeError, unpack([sample(format), Uint8Array.of(0)], format));
  }, `${format}: what follows the end is an error`);
  promise_test(async (t) => {
    await promise_rejects_js(t, TypeError, unpack([], format));
  }, `${format}: nothing is no compressed data`);
  promise_test(async (t) => {
    const bytes = sample(format);
    bytes[format === 'deflate-raw' ? 0 : 1] = 0xff;
    await promise_rejects_js(t, TypeError, unpack([bytes], format));
  }, `${format}: a broken start is an error`);
  if (format !== 'deflate-raw') {
    promise_test(async (t) => {
      const bytes = sample(format);
      bytes[bytes.length - (format === 'gzip' ? 5 : 1)] ^= 0xff;
      await promise_rejects_js(t, TypeError, unpack([bytes], format));
    }, `${format}: a wrong checksum is an error`);
  }
}
promise_test(async (t) => {
  const { readable, writable } = new DecompressionStream('gzip');
  const writer = writable.getWriter();
  const reading = readable.getReader().read();
  const writing = writer.write(new Uint8Array(20));
  await promise_rejects_js(t, TypeError, reading);
  await writing.catch(() => {});
  await promise_rejects_js(t, TypeError, writer.closed);
}, 'broken data is an error of both sides');
promise_test(async (t) => {
  const error = new Error('mine');
  const { readable, writable } = new CompressionStream('gzip');
  await writable.abort(error);
  await promise_rejects_exactly(t, error, readable.getReader().read());
}, 'an abort reaches the reader');
promise_test(async () => {
  const { readable, writable } = new CompressionStream('gzip');
  await readable.cancel('enough');
  let thrown;
  await writable.getWriter().write(encoded).catch((error) => { thrown = error; });
  assert_equals(thrown, 'enough');
}, 'a cancel reaches the writer');
