// `node:events`, from the package of that name.
import EventEmitter from 'events';

export const { once, defaultMaxListeners, listenerCount } = EventEmitter;
export { EventEmitter, EventEmitter as default };
