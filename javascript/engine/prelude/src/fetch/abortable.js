// An operation that a signal can end.
import { cancel } from '../host.js';

// `asked` is the promise of the operation `id`; once the signal is aborted, it is cancelled, and its reason thrown.
export async function abortable(signal, asked, id) {
  if (!signal) return asked;
  let stop;
  const aborted = new Promise((_, reject) => {
    stop = () => {
      cancel(id);
      reject(signal.reason);
    };
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([asked, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
