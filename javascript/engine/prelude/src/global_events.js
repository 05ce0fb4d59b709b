// `addEventListener` of the global scope: the handlers of a service worker, and what nobody handled.
import { define } from './define.js';
import { Event, EventTarget } from './web/events.js';

const target = new EventTarget();
const handlers = new Map();

// The first handler of `type`, for those that the platform calls itself.
export function handlerOf(type) {
  return handlers.get(type);
}

// It has listeners instead of a default export.
export const isServiceWorker = () => handlers.size > 0;

// Tells the listeners; false when one of them prevented what happens by default.
export function dispatch(type, properties) {
  const event = new Event(type, { cancelable: true });
  for (const name of Object.keys(properties)) define({ [name]: properties[name] }, event);
  return target.dispatchEvent(event);
}

function addEventListener(type, listener, options) {
  if (['fetch', 'scheduled', 'queue', 'tail', 'email'].includes(type)) {
    if (!handlers.has(type)) handlers.set(type, listener);
    return;
  }
  target.addEventListener(type, listener, options);
}

define({
  addEventListener,
  removeEventListener: (type, listener, options) => target.removeEventListener(type, listener, options),
  dispatchEvent: (event) => target.dispatchEvent(event),
});
