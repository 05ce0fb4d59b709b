// What was thrown, for whoever deploys: what was wrong, and the line of theirs.
import { frames, isError, safely } from './errors.js';
import { inspect } from './inspect.js';

const PLACE = /\(?([^()\s]+):(\d+):(\d+)\)?$/;

// All of it has to be packed, where there may be little memory left.
const short = (text) => text.slice(0, 2000);

export function describe(error) {
  const own = frames(error);
  const place = own.map((line) => PLACE.exec(line)).find(Boolean);
  return {
    kind: isError(error) ? short(safely(error.name)) || 'Error' : typeof error,
    message: short(isError(error) ? safely(error.message) : inspect(error)),
    file: place ? place[1] : null,
    line: place ? Number(place[2]) : null,
    column: place ? Number(place[3]) : null,
    stack: short(own.join('\n')),
  };
}
