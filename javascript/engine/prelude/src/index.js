// The prelude: evaluated once, when the engine is built, and in every worker's memory from then on. Its value is what
// the glue calls (glue/engine.h has the list). Nothing here may ask the host for anything while it is evaluated.
import './web/index.js';
import './fetch/index.js';
import './console.js';
import './timers.js';
import { describe } from './describe.js';
import { failure } from './errors.js';
import { handle } from './handlers/index.js';
import { loaded } from './handlers/registry.js';
import { commonjs } from './modules/commonjs.js';
import { configure } from './modules/configure.js';
import { builtinNamespace as builtin, resolve } from './modules/names.js';
import { rejection, report } from './rejections.js';
import { runTimer as timers } from './timers.js';

// The engine makes built-in functions when they are first looked at: once here, instead of in every event.
for (const holder of [Array.prototype, Object, Promise, Promise.prototype, String.prototype, JSON]) Object.getOwnPropertyDescriptors(holder);

export const entries = {
  handle, timers, failure, rejection, report, describe, resolve, builtin, commonjs, configure, loaded,
};
