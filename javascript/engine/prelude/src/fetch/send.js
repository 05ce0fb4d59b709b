// Bodies on their way to the host: whole where they are small, as a stream of the host's where they are one already,
// and written into one where they are a stream of ours.
import { operation } from '../host.js';
import { lengthOf } from '../web/identity_stream.js';
import { Body, readerOf } from './body.js';
import { encoded } from './coding.js';

// Of one operation; a call has at most 1 MiB.
export const INLINE_BYTES = 512 * 1024;
const WRITE_BYTES = 256 * 1024;

// {given: {body} | {body_stream} | {}, sending}: `sending()` is to be called once the operation that takes the stream
// was asked for.
export async function hostBody(body) {
  if (body === null) return { given: {} };
  body.take();
  if (body.codedWith !== null) body.asStream();
  if (body.text !== null && body.text.length * 3 <= INLINE_BYTES) return { given: { body: body.text } };
  const bytes = body.text !== null ? body.asBytes() : body.bytes;
  if (bytes !== null && bytes.byteLength <= INLINE_BYTES) return { given: { body: bytes } };
  if (bytes === null) {
    const id = body.takeHostStream();
    if (id !== null) return { given: { body_stream: id } };
  }
  const id = await operation('stream.open', null);
  const read = bytes === null ? readerOf(body.stream) : onePart(bytes);
  return { given: { body_stream: id }, sending: () => pump(id, read) };
}

// Of a body that the host does not see whole: how long it will be, or undefined.
export const lengthToSend = (body) => (body === null ? undefined : body.length ?? (body.stream === null ? undefined : lengthOf(body.stream)));

// A body as it travels under a `coding` that headers name, or null: as it came, where that is it; otherwise coded, or decoded, now.
// `reading(read)` gets hold of a stream of ours that is coded.
export async function travelling(body, coding, reading = () => {}) {
  if (body.codedWith === coding) return coding === null ? body : new Body(body.takeCoded());
  if (coding === null) return new Body({ stream: body.asStream() });
  const isHere = body.text !== null || body.bytes !== null;
  const read = isHere ? onePart(body.asBytes()) : readerOf(body.asStream());
  if (!isHere) reading(read);
  const id = await encoded(coding, read);
  return new Body({ stream: new Body({ id }).asStream() });
}

function onePart(bytes) {
  let rest = bytes;
  return async () => {
    const part = rest;
    rest = null;
    return part;
  };
}

// Cut into what one operation can carry.
export function* pieces(bytes) {
  for (let at = 0; at < bytes.byteLength; at += WRITE_BYTES) yield bytes.subarray(at, at + WRITE_BYTES);
}

async function pump(id, read) {
  try {
    for (let part = await read(); part !== null; part = await read()) {
      for (const piece of pieces(part)) await operation('stream.write', null, id, piece);
    }
    await operation('stream.end', null, id);
  } catch (error) {
    // Whoever reads it learns that it broke off, and who makes it that nobody does.
    read.cancel?.(error).catch(() => {});
    await operation('stream.close', null, id).catch(() => {});
  }
}
