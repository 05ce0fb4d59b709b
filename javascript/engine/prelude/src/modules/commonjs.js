// CommonJS: each file's function is run once, by who imports or requires it first.
import { file, files } from '../host.js';
import { builtin, resolve } from './names.js';

const started = new Map(); // name → module
const kept = new Map(); // name → what require() gives, of files that the top level did not run

// What is in module.exports after `run`, the file's own function; what it has so far, for a ring of files.
export function commonjs(name, run) {
  if (started.has(name)) return started.get(name).exports;
  const module = { exports: {}, id: name, filename: name, loaded: false };
  started.set(name, module);
  const folder = name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '.';
  try {
    run.call(module.exports, module.exports, requireFrom(name), module, name, folder);
  } catch (error) {
    started.delete(name);
    throw error;
  }
  module.loaded = true;
  return module.exports;
}

const ENDINGS = ['', '.js', '.cjs', '.json', '/index.js', '/index.cjs', '/index.json'];
const types = new Map();

function typeOf(name) {
  if (!types.size) for (const [each, type] of files()) types.set(each, type);
  return types.get(name);
}

function requireFrom(base) {
  return function require(specifier) {
    const name = resolve(base, String(specifier));
    const own = builtin(name);
    if (own) return own.default ?? own;
    const found = ENDINGS.map((ending) => name + ending).find((each) => typeOf(each) !== undefined);
    if (found === undefined) throw new Error(`require("${specifier}"): "${base}" has no such file beside it among those that were uploaded.`);
    return required(found);
  };
}

function required(name) {
  if (started.has(name)) return started.get(name).exports;
  const value = kept.has(name) ? kept.get(name) : file(name);
  if (value === undefined) throw new Error(`require("${name}"): an ES module can be required while the top level runs; import() it.`);
  if (typeOf(name) === 'cjs') return commonjs(name, value);
  if (typeOf(name) !== 'esm') started.set(name, { exports: value });
  return value;
}

// After the top level the files are gone: what a handler may still require stays, where there is CommonJS.
export function keepFiles() {
  const all = files();
  types.clear();
  if (!all.some(([, type]) => type === 'cjs')) return;
  for (const [name, type] of all) {
    types.set(name, type);
    if (type !== 'esm' && type !== 'script' && !started.has(name)) kept.set(name, file(name));
  }
}
