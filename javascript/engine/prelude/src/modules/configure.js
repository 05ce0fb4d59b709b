// What the compatibility flags change, before a file of the upload is compiled or run.
import { define } from '../define.js';
import { hasNode, useFlags } from './compatibility.js';
import { builtin } from './names.js';

export function configure(flags) {
  useFlags(flags);
  if (!hasNode()) return;
  define({ global: globalThis, process: builtin('node:process').default, Buffer: builtin('node:buffer').Buffer });
}
