// Small globals that belong to no standard of their own.
import { define } from '../define.js';
import { show } from '../errors.js';
import { log, now } from '../host.js';

const navigator = { userAgent: 'Cloudflare-Workers', language: 'en', hardwareConcurrency: 1 };

// The clock stands still between operations, as elsewhere: what is measured is waiting, not work.
class Performance {
  get timeOrigin() { return 0; }
  now() { return now(); }
  toJSON() { return { timeOrigin: 0 }; }
}

define({
  self: globalThis,
  navigator,
  Performance,
  performance: new Performance(),
  reportError: (error) => log(4, `Uncaught ${show(error)}`),
});
