// Modules of Node.js that need nothing of the host, by `node:` and their name. Each file exports what Node's does.
import * as assert from './assert.js';
import * as asyncHooks from './async_hooks.js';
import * as buffer from './buffer.js';
import * as events from './events.js';
import * as path from './path.js';
import * as util from './util.js';

export const node = [
  ['node:assert', assert],
  ['node:assert/strict', assert],
  ['node:async_hooks', asyncHooks],
  ['node:buffer', buffer],
  ['node:events', events],
  ['node:path', path],
  ['node:path/posix', path],
  ['node:util', util],
];
