// performance (High Resolution Time, User Timing). The clock stands still between operations, as elsewhere: what is measured is
// waiting, not work.
import { define, describeClass } from '../define.js';
import { now } from '../host.js';

const OURS = Symbol('ours');

class PerformanceEntry {
  #facts;

  constructor(ours, facts) {
    if (ours !== OURS) throw new TypeError('Illegal constructor');
    this.#facts = facts;
  }

  get name() { return this.#facts.name; }
  get entryType() { return this.#facts.entryType; }
  get startTime() { return this.#facts.startTime; }
  get duration() { return this.#facts.duration; }
  get detail() { return this.#facts.detail; }
  toJSON() { return { ...this.#facts }; }
}

class PerformanceMark extends PerformanceEntry {
  constructor(name, options = {}) {
    const startTime = Number(options?.startTime ?? now());
    if (!(startTime >= 0)) throw new TypeError('PerformanceMark: startTime is a number, not below 0');
    super(OURS, { name: String(name), entryType: 'mark', startTime, duration: 0, detail: structuredClone(options?.detail ?? null) });
  }
}

class PerformanceMeasure extends PerformanceEntry {}

const found = [];

// A time, or the name of the newest mark that has it.
function timeOf(given, otherwise) {
  if (given === undefined) return otherwise;
  if (typeof given === 'number') return given;
  const mark = found.findLast((entry) => entry.entryType === 'mark' && entry.name === String(given));
  if (!mark) throw new DOMException(`The mark '${given}' does not exist.`, 'SyntaxError');
  return mark.startTime;
}

function remove(type, name) {
  const left = found.filter((entry) => entry.entryType !== type || (name !== undefined && entry.name !== String(name)));
  found.splice(0, found.length, ...left);
}

const byTime = (entries) => entries.sort((one, other) => one.startTime - other.startTime);

class Performance {
  get timeOrigin() { return 0; }
  now() { return now(); }
  toJSON() { return { timeOrigin: 0 }; }

  mark(name, options) {
    const mark = new PerformanceMark(name, options);
    found.push(mark);
    return mark;
  }

  measure(name, given = undefined, until = undefined) {
    const { start, end, duration, detail } = typeof given === 'object' && given !== null ? given : { start: given, end: until };
    const last = end === undefined && duration !== undefined ? timeOf(start, 0) + duration : timeOf(end, now());
    const first = start === undefined && duration !== undefined ? last - duration : timeOf(start, 0);
    const measure = new PerformanceMeasure(OURS, {
      name: String(name), entryType: 'measure', startTime: first, duration: last - first, detail: structuredClone(detail ?? null),
    });
    found.push(measure);
    return measure;
  }

  clearMarks(name) { remove('mark', name); }
  clearMeasures(name) { remove('measure', name); }
  getEntries() { return byTime([...found]); }
  getEntriesByType(type) { return byTime(found.filter((entry) => entry.entryType === type)); }

  getEntriesByName(name, type = undefined) {
    return byTime(found.filter((entry) => entry.name === name && (type === undefined || entry.entryType === type)));
  }
}

for (const each of [PerformanceMark, PerformanceMeasure]) describeClass(each);
describeClass(PerformanceEntry, ['name', 'entryType', 'startTime', 'duration', 'toJSON']);
define({ Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, performance: new Performance() });
