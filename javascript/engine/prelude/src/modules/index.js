// Names of modules: which file an import means, and which the platform has itself.
import { node } from './node/index.js';
import * as workers from './workers.js';

const builtins = new Map([['cloudflare:workers', workers], ...node]);

// The uploaded file's name, as the tenant spelled it but for a leading `./`; relative ones by the importer's folder.
export function resolve(base, specifier) {
  if (builtins.has(specifier)) return specifier;
  if (/^[a-z][a-z0-9+.-]*:/i.test(specifier)) {
    throw new Error(`No such module "${specifier}": it is none of the platform's (${[...builtins.keys()].join(', ')}).`);
  }
  const isRelative = specifier.startsWith('./') || specifier.startsWith('../');
  const parts = isRelative ? base.split('/').slice(0, -1) : [];
  for (const part of specifier.split('/')) {
    if (part === '..') {
      if (!parts.length) throw new Error(`No such module "${specifier}", imported from "${base}": it is outside of what was uploaded.`);
      parts.pop();
    } else if (part !== '.' && part !== '') parts.push(part);
  }
  return parts.join('/');
}

export function builtin(name) {
  const found = builtins.get(name);
  return found && { ...found };
}

// -- CommonJS -------------------------------------------------------------------------------------------------------

const finished = new Map();

// Runs a file's own function, once; what it has exported so far is what a ring of files gets.
export function commonjs(name, run) {
  const module = { exports: {}, id: name, filename: name, loaded: false };
  finished.set(name, module);
  const folder = name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '.';
  run.call(module.exports, module.exports, requireFrom(name), module, name, folder);
  module.loaded = true;
  return module.exports;
}

function requireFrom(base) {
  return function require(specifier) {
    const name = resolve(base, String(specifier));
    const own = builtins.get(name);
    if (own) return own.default ?? own;
    if (finished.has(name)) return finished.get(name).exports;
    throw new Error(`require("${specifier}"): no such module among those that "${base}" imports; bundle it, or use import.`);
  };
}

