// Decoders, one an encoding: decode(bytes, isLast) gives the text of what is complete, and keeps the rest.
import { latin1Decode, utf8Decode } from '../host.js';
import { TABLES } from './single_byte.js';

// How many bytes at the end are the beginning of a character whose rest may come.
function unfinished(bytes) {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const at = bytes.length - back, byte = bytes[at];
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) {
      const size = byte >= 0xc2 && byte <= 0xdf ? 2 : byte >= 0xe0 && byte <= 0xef ? 3 : byte >= 0xf0 && byte <= 0xf4 ? 4 : 1;
      if (back >= size || (back > 1 && !isSecond(byte, bytes[at + 1]))) return 0;
      return back;
    }
  }
  return 0;
}

// Not after every first byte may all of 80 to BF come.
function isSecond(first, second) {
  switch (first) {
    case 0xe0: return second >= 0xa0;
    case 0xed: return second <= 0x9f;
    case 0xf0: return second >= 0x90;
    case 0xf4: return second <= 0x8f;
    default: return true;
  }
}

function after(rest, bytes) {
  if (!rest.length) return bytes;
  const whole = new Uint8Array(rest.length + bytes.length);
  whole.set(rest);
  whole.set(bytes, rest.length);
  return whole;
}

class Utf8 {
  #rest = new Uint8Array();
  #isFatal;
  constructor(isFatal) { this.#isFatal = isFatal; }

  decode(bytes, isLast) {
    const whole = after(this.#rest, bytes);
    const kept = isLast ? 0 : unfinished(whole);
    this.#rest = whole.slice(whole.length - kept);
    return utf8Decode(kept ? whole.subarray(0, whole.length - kept) : whole, this.#isFatal);
  }
}

const UNITS = 8192;

class Utf16 {
  #rest = new Uint8Array();
  #isFatal;
  #isLittle;
  constructor(isFatal, isLittle) {
    this.#isFatal = isFatal;
    this.#isLittle = isLittle;
  }

  decode(bytes, isLast) {
    const whole = after(this.#rest, bytes);
    let end = whole.length - (whole.length % 2);
    // Half of a pair waits for the other.
    if (!isLast && end >= 2 && (whole[end - (this.#isLittle ? 1 : 2)] & 0xfc) === 0xd8) end -= 2;
    this.#rest = isLast ? new Uint8Array() : whole.slice(end);
    const isCut = isLast && whole.length % 2 === 1;
    const text = this.#textOf(whole.subarray(0, end)) + (isCut ? '\ufffd' : '');
    if (this.#isFatal && (isCut || !text.isWellFormed())) throw new TypeError('The encoded data was not valid for encoding utf-16');
    return text.toWellFormed();
  }

  #textOf(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const parts = [];
    for (let at = 0; at < bytes.length; at += 2 * UNITS) {
      const units = [];
      for (let unit = at; unit < Math.min(at + 2 * UNITS, bytes.length); unit += 2) units.push(view.getUint16(unit, this.#isLittle));
      parts.push(String.fromCharCode.apply(null, units));
    }
    return parts.join('');
  }
}

// Of 80 to 9F; the others are as in Latin-1.
const WINDOWS_1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

class Windows1252 {
  decode(bytes) {
    return latin1Decode(bytes).replace(/[\x80-\x9f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]);
  }
}

class SingleByte {
  #isFatal;
  #table;
  constructor(isFatal, table) {
    this.#isFatal = isFatal;
    this.#table = table;
  }

  decode(bytes) {
    const first = 256 - this.#table.length;
    const text = latin1Decode(bytes).replace(/[\x80-\xff]/g, (character) => this.#table[character.charCodeAt(0) - first] ?? character);
    if (this.#isFatal && text.includes('\ufffd')) throw new TypeError('The encoded data was not valid.');
    return text;
  }
}

// Bytes that only their reader knows the meaning of.
const userDefined = () => Array.from({ length: 128 }, (_, at) => String.fromCharCode(0xf780 + at)).join('');

export function decoderOf(name, isFatal) {
  if (DECODERS[name]) return new DECODERS[name](isFatal);
  return new SingleByte(isFatal, name === 'x-user-defined' ? userDefined() : TABLES[name === 'iso-8859-8-i' ? 'iso-8859-8' : name]);
}

const DECODERS = {
  'utf-8': Utf8,
  'utf-16le': class extends Utf16 { constructor(isFatal) { super(isFatal, true); } },
  'utf-16be': class extends Utf16 { constructor(isFatal) { super(isFatal, false); } },
  'windows-1252': Windows1252,
};
