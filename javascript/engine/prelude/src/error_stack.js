// `stack` as V8 has it, which is what loggers and frameworks print: it begins with the error's name and message, and any
// value may be put there. QuickJS's has the frames alone, and takes text only.
const native = Object.getOwnPropertyDescriptor(Error.prototype, 'stack');
const { toString } = Error.prototype;
const PRELUDE = /^.*\btenantry:prelude\b.*\n?/gm;

Object.defineProperty(Error.prototype, 'stack', {
  configurable: true,
  enumerable: false,
  get() {
    const frames = native.get.call(this);
    if (typeof frames !== 'string') return frames;
    return `${titled(this)}\n${frames.replace(PRELUDE, '')}`.trimEnd();
  },
  set(value) {
    Object.defineProperty(this, 'stack', { value, writable: true, configurable: true, enumerable: false });
  },
});

// Of what has a name that is no text, or throws when it is asked: a stack has to be told all the same.
function titled(error) {
  try {
    return toString.call(error);
  } catch {
    return 'Error';
  }
}

// The frames alone: of what is told by the platform, which knows the rest, and may have little memory left to tell it in.
export const framesOf = (error) => (Object.hasOwn(error, 'stack') ? error.stack : native.get.call(error));
