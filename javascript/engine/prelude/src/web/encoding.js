// TextEncoder and TextDecoder (Encoding Standard): UTF-8, UTF-16 and all encodings of one byte a character; those of Chinese,
// Japanese and Korean are refused.
import { define, describeClass } from '../define.js';
import { utf8Encode } from '../host.js';
import { decoderOf } from './decoders.js';
import { NAMES } from './single_byte.js';

class TextEncoder {
  get encoding() { return 'utf-8'; }

  encode(text = '') { return utf8Encode(String(text)); }

  encodeInto(text, target) {
    if (!(target instanceof Uint8Array)) throw new TypeError('TextEncoder.encodeInto: the target is a Uint8Array');
    const source = String(text);
    let read = 0, written = 0;
    // As much at once as is certain to fit: a code unit has at most three bytes.
    for (;;) {
      let take = Math.floor((target.length - written) / 3);
      if (take < 2 || read === source.length) break;
      const last = source.charCodeAt(read + take - 1);
      if (last >= 0xd800 && last <= 0xdbff && read + take < source.length) take--;
      const part = source.slice(read, read + take);
      const bytes = utf8Encode(part);
      target.set(bytes, written);
      written += bytes.length;
      read += part.length;
    }
    for (const character of source.slice(read, read + 8)) {
      const bytes = utf8Encode(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

const LABELS = new Map();
const names = {
  ...NAMES,
  'utf-8': 'unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8',
  'utf-16le': 'csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le',
  'utf-16be': 'unicodefffe utf-16be',
  'windows-1252': 'ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 '
    + 'iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252',
};
for (const [name, labels] of Object.entries(names)) for (const label of labels.split(' ')) LABELS.set(label, name);

class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #decoder = null;
  #isBomSeen = false;

  constructor(label = 'utf-8', options = undefined) {
    const name = LABELS.get(String(label).replace(/^[\t\n\f\r ]+|[\t\n\f\r ]+$/g, '').toLowerCase());
    if (!name) throw new RangeError(`"${label}" is no encoding that TextDecoder knows here: UTF-8, UTF-16 and those of one byte a character are.`);
    this.#encoding = name;
    this.#fatal = Boolean(options?.fatal);
    this.#ignoreBOM = Boolean(options?.ignoreBOM);
  }

  get encoding() { return this.#encoding; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#ignoreBOM; }

  decode(input = undefined, options = undefined) {
    const isStream = Boolean(options?.stream);
    const decoder = this.#decoder ?? decoderOf(this.#encoding, this.#fatal);
    this.#decoder = isStream ? decoder : null;
    let text;
    try {
      text = decoder.decode(input === undefined ? new Uint8Array() : viewOf(input), !isStream);
    } catch (error) {
      this.#decoder = null;
      this.#isBomSeen = false;
      throw error;
    }
    if (!this.#isBomSeen && text !== '') {
      this.#isBomSeen = true;
      if (text.charCodeAt(0) === 0xfeff && !this.#ignoreBOM && this.#encoding !== 'windows-1252') text = text.slice(1);
    }
    if (!isStream) this.#isBomSeen = false;
    return text;
  }
}

function viewOf(input) {
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  throw new TypeError('TextDecoder.decode: an ArrayBuffer or a view of one is right');
}

describeClass(TextEncoder, ['encoding', 'encode', 'encodeInto']);
describeClass(TextDecoder, ['encoding', 'fatal', 'ignoreBOM', 'decode']);

define({ TextEncoder, TextDecoder });
export { TextDecoder, TextEncoder };
