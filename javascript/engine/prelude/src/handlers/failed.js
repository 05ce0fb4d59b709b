// What an event answers whose handler threw.
import { header, show } from '../errors.js';
import { log } from '../host.js';

export function failed(error) {
  log(5, `Uncaught ${show(error)}`);
  return { error: { code: 'exception', message: header(error).slice(0, 2000) } };
}
