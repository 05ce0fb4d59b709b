// What code that runs is part of, and calling something as part of another (glue/flow.c binds promises by itself).
import { enterFlow, flow } from './host.js';

// The value of `callback`, which runs in `values`.
export function inFlow(values, callback, self, given) {
  const outer = flow();
  if (values !== outer) enterFlow(values);
  try {
    return Reflect.apply(callback, self, given);
  } finally {
    if (flow() !== outer) enterFlow(outer);
  }
}

export { flow, enterFlow as startFlow };
