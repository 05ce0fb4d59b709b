// multipart/form-data (RFC 7578, as the HTML and Fetch Standards write and read it): entries ↔ bytes.
import { latin1Decode, utf8Decode, utf8Encode } from '../host.js';
import { File, bytesOf, joined } from './blob.js';

const CRLF = '\r\n';

// [[name, string | File]…] as bytes, between lines of `boundary`.
export function write(entries, boundary) {
  const parts = [];
  for (const [name, value] of entries) {
    const head = `--${boundary}${CRLF}Content-Disposition: form-data; name="${escaped(lines(name))}"`;
    if (typeof value === 'string') {
      parts.push(utf8Encode(`${head}${CRLF}${CRLF}${lines(value)}${CRLF}`));
    } else {
      const type = value.type || 'application/octet-stream';
      parts.push(utf8Encode(`${head}; filename="${escaped(value.name)}"${CRLF}Content-Type: ${type}${CRLF}${CRLF}`));
      parts.push(bytesOf(value), utf8Encode(CRLF));
    }
  }
  parts.push(utf8Encode(`--${boundary}--${CRLF}`));
  return joined(parts);
}

const lines = (text) => text.replace(/\r\n?|\n/g, CRLF);
const ESCAPES = { '\r': '%0D', '\n': '%0A', '"': '%22' };
const escaped = (text) => text.replace(/[\r\n"]/g, (character) => ESCAPES[character]);
const unescaped = (text) => text.replace(/%0D|%0A|%22/gi, decodeURIComponent);

// The entries of what `write` and browsers write. Throws a TypeError where it is something else.
export function parse(bytes, boundary) {
  // One character a byte: the engine finds text in text faster than a loop here would in bytes.
  const text = latin1Decode(bytes);
  const mark = `--${boundary}`;
  const entries = [];
  let at = text.startsWith(mark) ? 0 : text.indexOf(CRLF + mark) + CRLF.length;
  if (at === CRLF.length - 1) throw broken('its first boundary is missing');
  for (;;) {
    at += mark.length;
    if (text.startsWith('--', at)) return entries;
    while (text[at] === ' ' || text[at] === '\t') at++;
    if (!text.startsWith(CRLF, at)) throw broken('a boundary is not at the end of its line');
    const head = at + CRLF.length;
    const body = text.indexOf(CRLF + CRLF, head) + 2 * CRLF.length;
    const end = text.indexOf(CRLF + mark, body);
    if (body < head || end < 0) throw broken('a part has no end');
    entries.push(entryOf(headersOf(bytes.subarray(head, body - 2 * CRLF.length)), bytes.subarray(body, end)));
    at = end + CRLF.length;
  }
}

const broken = (why) => new TypeError(`Parsing a Body as FormData failed: ${why}.`);

function headersOf(bytes) {
  const headers = new Map();
  for (const line of utf8Decode(bytes, false).split(CRLF)) {
    const colon = line.indexOf(':');
    if (colon < 1) throw broken('a header of a part has no colon');
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}

function entryOf(headers, content) {
  const disposition = headers.get('content-disposition') ?? '';
  if (!/^form-data\s*(;|$)/i.test(disposition)) throw broken('a part has no `Content-Disposition: form-data`');
  const name = parameter(disposition, 'name');
  if (name === null) throw broken('a part has no name');
  const filename = parameter(disposition, 'filename');
  if (filename === null) return [name, utf8Decode(content, false)];
  return [name, new File([content], filename, { type: headers.get('content-type') ?? 'text/plain' })];
}

function parameter(disposition, name) {
  for (const [, found, quoted, bare] of disposition.matchAll(/;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))/g)) {
    if (found.toLowerCase() === name) return quoted === undefined ? bare : unescaped(quoted.replace(/\\(["\\])/g, '$1'));
  }
  return null;
}
