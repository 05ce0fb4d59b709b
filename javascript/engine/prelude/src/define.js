// Globals, as the standards have them: not enumerable, writable, configurable.
export function define(values, target = globalThis) {
  for (const name of Object.keys(values)) {
    Object.defineProperty(target, name, {
      value: values[name], writable: true, configurable: true, enumerable: false,
    });
  }
}

// The tag that Object.prototype.toString shows, and attributes that `for in` finds, as Web IDL has them.
export function describeClass(constructor, enumerable = []) {
  // The bundler calls a class that speaks of itself `_Name`, and one that a library knows as a global `Name2`.
  Object.defineProperty(constructor, 'name', { value: constructor.name.replace(/^_|\d+$/g, ''), configurable: true });
  Object.defineProperty(constructor.prototype, Symbol.toStringTag, {
    value: constructor.name, configurable: true, enumerable: false, writable: false,
  });
  for (const name of enumerable) {
    Object.defineProperty(constructor.prototype, name, {
      ...Object.getOwnPropertyDescriptor(constructor.prototype, name), enumerable: true,
    });
  }
}
