// What an event answers whose handler threw.
import { header, inspect } from '../inspect.js';
import { log } from '../host.js';
import { hasLeft } from './leaving.js';

export function failed(error) {
  if (hasLeft()) return undefined;
  log(5, `Uncaught ${inspect(error)}`);
  return { error: { code: 'exception', message: header(error).slice(0, 2000) } };
}
