// A visitor who leaves before the response has ended. That ends the event, unless somebody here asked to be told of it: then
// all who asked are told, and it goes on until what they still do is done. What the handler answers is nobody's any more.
import { leaving, log, notice, serving } from '../host.js';
import { inspect } from '../inspect.js';

let hasVisitor = true;
// Who is to be told; null: nobody asked, and so the host does not tell.
let listeners = null;
// What they are told; null: the visitor is there.
let reason = null;
const results = [];

// Of an event that nobody waits for.
export function withoutVisitor() {
  hasVisitor = false;
}

// `tell(reason)` is called when the visitor leaves, at once where it has. What it returns is waited for.
export function whenLeft(tell) {
  if (reason !== null) results.push(told(tell));
  else if (listeners !== null) listeners.push(tell);
  else if (hasVisitor && serving()) {
    listeners = [tell];
    // It fails where the response has ended: nobody can leave it then.
    notice('visitor.left').then(leave, () => {});
  }
}

async function told(tell) {
  try {
    await tell(reason);
  } catch (error) {
    if (!isLeaving(error)) log(5, `Uncaught ${inspect(error)}`);
  }
}

async function leave() {
  reason = new DOMException('The visitor left before the response had ended.', 'AbortError');
  leaving(false);
  for (const tell of listeners) results.push(told(tell));
  for (let at = 0; at < results.length; at++) await results[at];
  leaving(true);
}

export const hasLeft = () => reason !== null;

// Whether an error says no more than that.
export const isLeaving = (error) => reason !== null && error === reason;
