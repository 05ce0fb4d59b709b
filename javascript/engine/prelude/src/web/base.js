// Small globals that belong to no standard of their own.
import { define } from '../define.js';
import { inspect } from '../inspect.js';
import { log } from '../host.js';

const navigator = { userAgent: 'Cloudflare-Workers', language: 'en', hardwareConcurrency: 1 };

define({
  self: globalThis,
  navigator,
  reportError: (error) => log(4, `Uncaught ${inspect(error)}`),
});
