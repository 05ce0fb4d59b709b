// `node:process`: what libraries ask of it. There is no process behind it.
import { currentEnv } from '../../bindings/env.js';
import { log, now } from '../../host.js';
import { hasFlag } from '../compatibility.js';
import EventEmitter from './events.js';

// The variables and secrets of the event that is served, as text; what is written goes before them. At the top level there are
// none: what it leaves is shared by all versions with the same modules.
function environment() {
  const written = {};
  const lent = hasFlag('nodejs_compat_do_not_populate_process_env') ? () => ({}) : () => currentEnv() ?? {};
  const isText = (env, name) => {
    const found = Object.getOwnPropertyDescriptor(env, name);
    return found !== undefined && (found.get !== undefined || typeof found.value === 'string');
  };
  const has = (name) => Object.hasOwn(written, name) || (typeof name === 'string' && isText(lent(), name));
  return new Proxy(written, {
    get: (_, name) => (Object.hasOwn(written, name) ? written[name] : has(name) ? lent()[name] : undefined),
    set: (_, name, value) => { written[name] = String(value); return true; },
    has: (_, name) => has(name),
    deleteProperty: (_, name) => delete written[name],
    ownKeys: () => [...new Set([...Reflect.ownKeys(written), ...Object.keys(lent()).filter((name) => isText(lent(), name))])],
    getOwnPropertyDescriptor: (_, name) => (has(name)
      ? { value: Object.hasOwn(written, name) ? written[name] : lent()[name], writable: true, enumerable: true, configurable: true }
      : undefined),
  });
}

const output = (level) => ({ isTTY: false, write: (text) => { log(level, String(text).replace(/\n$/, '')); return true; } });

const hrtime = (since) => {
  const ms = now(), seconds = Math.floor(ms / 1000), nanoseconds = Math.round((ms % 1000) * 1e6);
  if (since === undefined) return [seconds, nanoseconds];
  const difference = seconds * 1e9 + nanoseconds - (since[0] * 1e9 + since[1]);
  return [Math.floor(difference / 1e9), difference % 1e9];
};
hrtime.bigint = () => BigInt(Math.round(now() * 1e6));

const process = Object.assign(new EventEmitter(), {
  title: 'workerd', version: 'v22.19.0', versions: { node: '22.19.0' }, release: { name: 'node' },
  platform: 'linux', arch: 'wasm32', pid: 1, ppid: 0, argv: ['workerd'], argv0: 'workerd', execArgv: [], execPath: '', exitCode: undefined,
  env: environment(),
  features: {}, config: {},
  stdout: output(1), stderr: output(4),
  hrtime,
  cwd: () => '/',
  chdir() { throw new Error('process.chdir() is not supported here: there are no folders.'); },
  umask: () => 0o22,
  uptime: () => 0,
  memoryUsage: () => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }),
  nextTick: (callback, ...values) => queueMicrotask(() => callback(...values)),
  emitWarning: (warning) => log(3, String(warning?.message ?? warning)),
  exit(code = 0) { throw new Error(`process.exit(${code}) was called: it ends the event's handler.`); },
  abort() { throw new Error('process.abort() was called.'); },
});

export const {
  title, version, versions, release, platform, arch, pid, ppid, argv, argv0, execArgv, execPath, env, features, config, stdout, stderr,
  cwd, chdir, umask, uptime, memoryUsage, nextTick, emitWarning, exit, abort,
} = process;
export { hrtime, process as default };
