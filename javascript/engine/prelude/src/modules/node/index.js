// Modules of Node.js, by `node:` and their name. Each file exports what Node's does. Those that are required here are made when
// they are first imported: until then nothing of them is written to memory.
/* global require */
import * as asyncHooks from './async_hooks.js';
import * as buffer from './buffer.js';
import * as events from './events.js';
import * as assert from './assert.js';
import * as path from './path.js';
import * as util from './util.js';

export const node = [
  ['node:assert', assert],
  ['node:assert/strict', assert],
  ['node:async_hooks', asyncHooks],
  ['node:buffer', buffer],
  ['node:crypto', () => require('./crypto.js')],
  ['node:diagnostics_channel', () => require('./diagnostics_channel.js')],
  ['node:events', events],
  ['node:path', path],
  ['node:path/posix', path],
  ['node:process', () => require('./process.js')],
  ['node:querystring', () => require('./querystring.js')],
  ['node:string_decoder', () => require('./string_decoder.js')],
  ['node:timers', () => require('./timers.js')],
  ['node:timers/promises', () => require('./timers_promises.js')],
  ['node:url', () => require('./url.js')],
  ['node:util', util],
];
