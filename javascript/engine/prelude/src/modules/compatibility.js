// The upload's compatibility flags. Only those of Node.js mean anything here: everything else is as of today.
let flags = new Set();

export const hasFlag = (name) => flags.has(name);
export const hasNode = () => hasFlag('nodejs_compat') || hasFlag('nodejs_compat_v2');

export function useFlags(given) {
  flags = new Set(Array.isArray(given) ? given : []);
}
