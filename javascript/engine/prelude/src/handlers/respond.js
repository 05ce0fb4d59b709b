// A Response on its way to the visitor: whole where it is here and nothing is left to do; else started, written and
// ended while the worker goes on.
import { BODY, readerOf } from '../fetch/body.js';
import { codingOf } from '../fetch/coding.js';
import { encodesItself, pairsToSend } from '../fetch/response.js';
import { pieces, travelling } from '../fetch/send.js';
import { operation } from '../host.js';
import { lengthOf } from '../web/identity_stream.js';
import { isWaiting, settled } from './context.js';
import { whenLeft } from './leaving.js';

// A handler may return 16 MiB, headers included.
const WHOLE_BYTES = 15 * 1024 * 1024;

// The map that the handler returns, or a promise of undefined where the response is streamed.
export function respond(response, context, isHead = false) {
  const { status } = response;
  if (status < 200) throw new TypeError(`A response of status ${status} can't be sent: WebSockets are not supported.`);
  const body = response[BODY];
  body?.take();
  const pairs = pairsToSend(response);
  if (isHead && body !== null && pairs.some(isLength)) return headless(status, pairs, body, context);
  if (body !== null && (body.coding !== null || body.stream !== null || pairs.length > 1 || (pairs.length && pairs[0][0] !== 'content-type'))) {
    const coding = encodesItself(response) ? null : codingOf(pairs);
    if (coding !== null || body.codedWith !== null) return coded(status, pairs, body, coding, context);
  }
  const whole = body === null ? '' : body.text ?? body.bytes;
  const headers = sendable(pairs, body);
  if (whole !== null && (typeof whole === 'string' ? 3 * whole.length : whole.byteLength) <= WHOLE_BYTES) {
    if (!isWaiting(context)) return { status, headers, body: whole };
  } else if (whole === null && !isWaiting(context)) {
    const id = body.takeHostStream();
    if (id !== null) return { status, headers, body_stream: id };
  }
  return streamed(status, headers, body, context);
}

// To HEAD the length is that of what GET would get: what the handler says of it goes, and its body does not.
function headless(status, pairs, body, context) {
  body.stream?.cancel().catch(() => {});
  return isWaiting(context) ? streamed(status, pairs, null, context) : { status, headers: pairs, body: '' };
}

// What is passed on as it came needs nothing of this worker any more; what is coded or decoded here does.
async function coded(status, pairs, body, coding, context) {
  const asItCame = body.codedWith === coding;
  const sent = await travelling(body, coding, (read) => whenLeft(read.cancel));
  if (!asItCame) return streamed(status, pairs.filter((pair) => !isLength(pair)), sent, context);
  if (isWaiting(context)) return streamed(status, pairs, sent, context);
  return sent.id === null ? { status, headers: sendable(pairs, sent), body: sent.bytes } : { status, headers: pairs, body_stream: sent.id };
}

async function streamed(status, headers, body, context) {
  await stream(status, headers, body);
  await settled(context);
}

// A length that was copied with another response's headers would be wrong of a body that was made here; the host
// says the right one of those that are whole, and a FixedLengthStream of itself.
function sendable(pairs, body) {
  if (body === null || body.isPassedOn) return pairs;
  const length = body.stream === null ? undefined : lengthOf(body.stream);
  const others = pairs.some(isLength) ? pairs.filter((pair) => !isLength(pair)) : pairs;
  return length === undefined ? others : [...others, ['content-length', String(length)]];
}

const isLength = (pair) => pair[0] === 'content-length';

async function stream(status, headers, body) {
  const started = operation('response.start', null, status, headers);
  if (body === null || body.text !== null || body.bytes !== null) {
    // All in one call.
    const steps = [started];
    if (body !== null) for (const piece of pieces(body.asBytes())) steps.push(operation('response.write', null, piece));
    steps.push(operation('response.end', null));
    await Promise.all(steps);
    return;
  }
  const read = readerOf(body.asStream());
  whenLeft(read.cancel);
  try {
    await started;
    for (let part = await read(); part !== null; part = await read()) {
      for (const piece of pieces(part)) await operation('response.write', null, piece);
    }
    await operation('response.end', null);
  } catch (error) {
    read.cancel(error).catch(() => {}); // who makes it need not go on
    throw error;
  }
}
