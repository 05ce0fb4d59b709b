// Content codings, as on Cloudflare: a response that came as gzip reads as what it stands for, and one that says it is gzip is
// made so when it is sent, unless it is passed on as it came. Others travel as they are.
import { operation } from '../host.js';

const WRITE_BYTES = 262144;

// The coding that is ours to apply, of what headers say; null mostly.
export function codingOf(pairs) {
  for (let at = 0; at < pairs.length; at++) {
    if (pairs[at][0] === 'content-encoding') return pairs[at][1].toLowerCase() === 'gzip' ? 'gzip' : null;
  }
  return null;
}

// The stream of the host's that gives what `bytes`, or the stream `id`, stand for.
export async function decoded(coding, { bytes, id }) {
  if (id !== null) return operation('compression.decompress', null, coding, id);
  return through('compression.decompress', coding, async (write) => write(bytes));
}

// The stream of the host's that gives what `read` does, coded.
export function encoded(coding, read) {
  return through('compression.compress', coding, async (write) => {
    try {
      for (let part = await read(); part !== null; part = await read()) await write(part);
    } catch (error) {
      read.cancel?.(error).catch(() => {});
      throw error;
    }
  });
}

async function through(name, coding, give) {
  const into = await operation('stream.open', null);
  const from = await operation(name, null, coding, into);
  const write = async (part) => {
    for (let at = 0; at < part.byteLength; at += WRITE_BYTES) {
      await operation('stream.write', null, into, part.subarray(at, at + WRITE_BYTES));
    }
  };
  // Who reads it learns that it broke off.
  give(write).then(() => operation('stream.end', null, into)).catch(() => operation('stream.close', null, into).catch(() => {}));
  return from;
}
