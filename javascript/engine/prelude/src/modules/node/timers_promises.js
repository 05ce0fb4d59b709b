// `node:timers/promises`
const global = globalThis;

function after(start, stop, value, options) {
  return new Promise((resolve, reject) => {
    const signal = options?.signal;
    const aborted = () => reject(Object.assign(new Error('The operation was aborted', { cause: signal.reason }), { name: 'AbortError', code: 'ABORT_ERR' }));
    if (signal?.aborted) {
      aborted();
      return;
    }
    const id = start(() => {
      signal?.removeEventListener('abort', cancel);
      resolve(value);
    });
    function cancel() {
      stop(id);
      aborted();
    }
    signal?.addEventListener('abort', cancel, { once: true });
  });
}

export const setTimeout = (delay, value, options) => after((done) => global.setTimeout(done, delay), global.clearTimeout, value, options);
export const setImmediate = (value, options) => after((done) => global.setImmediate(done), global.clearImmediate, value, options);

export async function* setInterval(delay, value, options) {
  for (;;) yield await setTimeout(delay, value, options);
}

export const scheduler = { wait: (delay, options) => setTimeout(delay, undefined, options), yield: () => setImmediate() };
export default { setTimeout, setImmediate, setInterval, scheduler };
