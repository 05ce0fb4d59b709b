// FormData (XMLHttpRequest Standard), and bodies that are forms.
import { define, describeClass } from '../define.js';
import { readers, registerBodyKind } from '../fetch/body.js';
import { fillRandom, utf8Decode, utf8Encode } from '../host.js';
import { Blob, File } from './blob.js';
import { parse, write } from './multipart.js';
import { URLSearchParams } from './url.js';

let made, entriesOf;

class FormData {
  #entries = [];

  static {
    entriesOf = (form) => form.#entries;
    made = (entries) => {
      const form = new FormData();
      form.#entries = entries;
      return form;
    };
  }

  constructor(form = undefined) {
    if (form !== undefined) throw new TypeError('FormData: there are no form elements here; append() what it should have.');
  }

  append(name, value, filename = undefined) {
    if (arguments.length < 2) throw new TypeError('FormData.append: a name and a value are needed');
    this.#entries.push(entry(arguments));
  }

  set(name, value, filename = undefined) {
    if (arguments.length < 2) throw new TypeError('FormData.set: a name and a value are needed');
    const given = entry(arguments);
    const at = this.#entries.findIndex(([found]) => found === given[0]);
    const others = this.#entries.filter(([found], index) => index <= at || found !== given[0]);
    if (at < 0) others.push(given);
    else others[at] = given;
    this.#entries = others;
  }

  delete(name) {
    const wanted = text(name);
    this.#entries = this.#entries.filter(([found]) => found !== wanted);
  }

  get(name) {
    const wanted = text(name);
    return this.#entries.find(([found]) => found === wanted)?.[1] ?? null;
  }

  getAll(name) {
    const wanted = text(name);
    return this.#entries.filter(([found]) => found === wanted).map(([, value]) => value);
  }

  has(name) {
    const wanted = text(name);
    return this.#entries.some(([found]) => found === wanted);
  }

  // What is appended on the way is met too.
  * entries() { for (let at = 0; at < this.#entries.length; at++) yield [...this.#entries[at]]; }
  * keys() { for (const [name] of this.entries()) yield name; }
  * values() { for (const [, value] of this.entries()) yield value; }

  forEach(callback, thisArgument = undefined) {
    for (const [name, value] of this.entries()) callback.call(thisArgument, value, name, this);
  }
}

Object.defineProperty(FormData.prototype, Symbol.iterator, { value: FormData.prototype.entries, writable: true, configurable: true });
describeClass(FormData, ['append', 'set', 'delete', 'get', 'getAll', 'has', 'entries', 'keys', 'values', 'forEach']);

const text = (value) => String(value).toWellFormed();

function entry([name, value, filename]) {
  if (!(value instanceof Blob)) {
    if (filename !== undefined) throw new TypeError('FormData: a file name is for a Blob or a File; the value is neither.');
    return [text(name), text(value)];
  }
  if (value instanceof File && filename === undefined) return [text(name), value];
  const { type, lastModified } = value;
  return [text(name), new File([value], filename === undefined ? 'blob' : text(filename), { type, lastModified })];
}

// -- bodies -----------------------------------------------------------------------------------------------------------

registerBodyKind((value) => value instanceof FormData, (form) => {
  const random = Array.from(fillRandom(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const boundary = `----formdata-${random}`;
  return { bytes: write(entriesOf(form), boundary), type: `multipart/form-data; boundary=${boundary}` };
});

readers.formData = (whole, owner) => {
  const type = owner.headers.get('content-type') ?? '';
  const essence = type.split(';', 1)[0].trim().toLowerCase();
  if (essence === 'application/x-www-form-urlencoded') {
    const fields = new URLSearchParams(typeof whole === 'string' ? whole : utf8Decode(whole, false));
    return made([...fields]);
  }
  if (essence === 'multipart/form-data') {
    const boundary = /;\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;]+))/i.exec(type);
    if (!boundary) throw new TypeError('Parsing a Body as FormData failed: the content type has no boundary.');
    return made(parse(typeof whole === 'string' ? utf8Encode(whole) : whole, boundary[1] ?? boundary[2]));
  }
  throw new TypeError(`Parsing a Body as FormData failed: its content type is ${type || 'missing'}; multipart/form-data and application/x-www-form-urlencoded are right.`);
};

define({ FormData });
export { FormData };
