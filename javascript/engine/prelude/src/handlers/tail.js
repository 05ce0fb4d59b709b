// What became of other workers' events, told to the worker that they name as their tail consumer.
import { contextFor, settled } from './context.js';
import { TailEvent } from './events.js';
import { withoutVisitor } from './leaving.js';
import { find } from './registry.js';

export async function serveTail(event, env) {
  withoutVisitor();
  const context = contextFor(event);
  const handler = find('tail');
  if (!handler) throw new TypeError('Handler does not export a tail() function.');
  await (handler.listener
    ? handler.listener.call(globalThis, new TailEvent(event.traces, context))
    : handler.call(event.traces, env, context));
  await settled(context);
  return undefined;
}
