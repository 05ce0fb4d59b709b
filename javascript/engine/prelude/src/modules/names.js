// Names of modules: which file an import means, and which the platform has itself.
import { hasNode } from './compatibility.js';
import { node } from './node/index.js';
import * as workers from './workers.js';

// name → the module, or a function that makes it when it is first wanted
const builtins = new Map([['cloudflare:workers', workers], ...node]);

// The uploaded file's name, as the tenant spelled it but for a leading `./`; relative ones by the importer's folder.
export function resolve(base, specifier) {
  if (builtins.has(specifier)) return specifier;
  if (hasNode() && builtins.has(`node:${specifier}`)) return `node:${specifier}`;
  if (/^[a-z][a-z0-9+.-]*:/i.test(specifier)) {
    throw new Error(`No such module "${specifier}", imported from "${base}": it is none of the platform's (${[...builtins.keys()].join(', ')}).`);
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
  return typeof found === 'function' ? found() : found;
}

// For the glue, which reads its properties.
export function builtinNamespace(name) {
  const found = builtin(name);
  return found && { ...found };
}
