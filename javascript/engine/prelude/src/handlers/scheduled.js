// A cron tick.
import { contextFor, settled } from './context.js';
import { ScheduledEvent } from './events.js';
import { withoutVisitor } from './leaving.js';
import { find } from './registry.js';

class ScheduledController {
  constructor(event) {
    this.scheduledTime = event.scheduled_time_ms;
    this.cron = event.cron;
    this.type = 'scheduled';
  }

  noRetry() {}
}

export async function serveScheduled(event, env) {
  withoutVisitor();
  const context = contextFor(event);
  const controller = new ScheduledController(event);
  const handler = find('scheduled');
  if (!handler) throw new TypeError('Handler does not export a scheduled() function.');
  await (handler.listener
    ? handler.listener.call(globalThis, new ScheduledEvent(controller, context))
    : handler.call(controller, env, context));
  await settled(context);
  return undefined;
}
