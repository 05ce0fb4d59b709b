// `console`: a line, or several, of the worker's log.
import { define } from './define.js';
import { log, now } from './host.js';
import { format, inspect } from './inspect.js';

const DEBUG = 0, INFO = 1, WARN = 3, ERROR = 4;
let indent = '';
const counts = new Map();
const starts = new Map();

const line = (level) => (...values) => write(level, format(values));

function write(level, text) {
  log(level, indent ? indent + text.replaceAll('\n', `\n${indent}`) : text);
}

const group = (...values) => {
  if (values.length) write(INFO, format(values));
  indent += '  ';
};

const elapsed = (label) => `${label}: ${now() - starts.get(label)}ms`;

define({
  console: Object.assign(Object.create({}), {
    debug: line(DEBUG), log: line(INFO), info: line(INFO), warn: line(WARN), error: line(ERROR),
    dir: (...values) => write(INFO, format(values.slice(0, 1))),
    dirxml: line(INFO),
    table: line(INFO),
    trace: (...values) => write(INFO, `Trace: ${format(values)}\n${inspect(new Error()).split('\n').slice(1).join('\n')}`),
    assert: (...given) => {
      const [condition, ...values] = given;
      if (!condition) write(ERROR, values.length ? `Assertion failed: ${format(values)}` : 'Assertion failed');
    },
    group, groupCollapsed: group,
    groupEnd: () => { indent = indent.slice(2); },
    count: (given = 'default') => {
      const label = String(given);
      counts.set(label, (counts.get(label) ?? 0) + 1);
      write(INFO, `${label}: ${counts.get(label)}`);
    },
    countReset: (label = 'default') => { counts.delete(String(label)); },
    time: (label = 'default') => { starts.set(String(label), now()); },
    timeLog: (given = 'default', ...values) => {
      const label = String(given);
      if (starts.has(label)) write(INFO, values.length ? `${elapsed(label)} ${format(values)}` : elapsed(label));
    },
    timeEnd: (given = 'default') => {
      const label = String(given);
      if (starts.has(label)) write(INFO, elapsed(label));
      starts.delete(label);
    },
    clear() {}, profile() {}, profileEnd() {}, timeStamp() {},
  }),
});
Object.defineProperty(console, Symbol.toStringTag, { value: 'console', configurable: true });
