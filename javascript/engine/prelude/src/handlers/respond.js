// A Response on its way to the visitor: whole where it is here and nothing is left to do; else started, written and
// ended while the worker goes on.
import { BODY, readerOf } from '../fetch/body.js';
import { pairsOf } from '../fetch/headers.js';
import { pieces } from '../fetch/send.js';
import { operation } from '../host.js';
import { isWaiting, settled } from './context.js';

// A handler may return 16 MiB, headers included.
const WHOLE_BYTES = 15 * 1024 * 1024;

export async function respond(response, context) {
  const { status } = response;
  if (status < 200) throw new TypeError(`A response of status ${status} can't be sent: WebSockets are not supported.`);
  const body = response[BODY];
  body?.take();
  const whole = body === null ? '' : body.text ?? body.bytes;
  const headers = sendable(response.headers, body);
  if (whole !== null && (typeof whole === 'string' ? 3 * whole.length : whole.byteLength) <= WHOLE_BYTES) {
    if (!isWaiting(context)) return { status, headers, body: whole };
  } else if (whole === null && !isWaiting(context)) {
    const id = body.takeHostStream();
    if (id !== null) return { status, headers, body_stream: id };
  }
  await stream(status, headers, body);
  await settled(context);
  return undefined;
}

// A length that was copied with another response's headers would be wrong of a body that was made here; the host
// says the right one of those that are whole.
function sendable(headers, body) {
  const pairs = pairsOf(headers);
  return body === null || body.isPassedOn
    ? pairs
    : pairs.filter(([name]) => name !== 'content-length');
}

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
  await started;
  const read = readerOf(body.asStream());
  for (let part = await read(); part !== null; part = await read()) {
    for (const piece of pieces(part)) await operation('response.write', null, piece);
  }
  await operation('response.end', null);
}
