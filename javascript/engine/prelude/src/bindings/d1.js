// A D1 database: statements are prepared and bound here, and run by the host.
import { operation } from '../host.js';

let bound;

class D1PreparedStatement {
  #session;
  #sql;
  #params;

  static {
    bound = (statement) => [statement.#sql, statement.#params];
  }

  constructor(session, sql, params = []) {
    this.#session = session;
    this.#sql = sql;
    this.#params = params;
  }

  bind(...values) {
    return new D1PreparedStatement(this.#session, this.#sql, values.map(parameter));
  }

  async first(column = undefined) {
    const found = await this.#query({ mode: 'first', column: column ?? undefined });
    return column === undefined || column === null ? found && shownRow(found) : shownValue(found);
  }

  async all() {
    return shown(await this.#query({}));
  }

  async run() {
    return this.all();
  }

  async raw(options = undefined) {
    const { columns, rows } = await this.#query({ mode: 'raw' });
    const values = rows.map((row) => row.map(shownValue));
    return options?.columnNames ? [columns, ...values] : values;
  }

  async #query(options) {
    const result = await this.#session.ask('d1.query', this.#sql, this.#params, { ...options, session: this.#session.at });
    this.#session.saw(result);
    return result;
  }
}

// A blob is an array of its bytes, as in Cloudflare's JSON.
const shownValue = (value) => (value instanceof Uint8Array ? Array.from(value) : value);

function shownRow(row) {
  for (const name of Object.keys(row)) row[name] = shownValue(row[name]);
  return row;
}

function shown(result) {
  result.results.forEach(shownRow);
  return result;
}

function parameter(value) {
  if (value === undefined) throw new Error("D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'");
  switch (typeof value) {
    case 'number': case 'string': case 'boolean': return value;
    case 'object':
      if (value === null || value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return value;
      if (Array.isArray(value)) return Uint8Array.from(value);
      break;
    default:
  }
  throw new Error(`D1_TYPE_ERROR: Type '${typeof value}' not supported for value '${String(value)}'`);
}

// Where a chain of statements stands: each sees what those before it wrote.
class Session {
  constructor(name, at) {
    this.name = name;
    this.at = at;
  }

  async ask(operationName, ...values) {
    try {
      return await operation(operationName, this.name, ...values);
    } catch (error) {
      if (!/^D1_/.test(error.message)) error.message = `D1_ERROR: ${error.message}`;
      throw error;
    }
  }

  saw(result) {
    if (this.at !== undefined && result?.meta?.bookmark) this.at = result.meta.bookmark;
  }

  prepare(sql) {
    return new D1PreparedStatement(this, String(sql));
  }

  async batch(statements) {
    const results = await this.ask('d1.batch', statements.map(bound), { session: this.at });
    results.forEach((result) => this.saw(result));
    return results.map(shown);
  }
}

class D1DatabaseSession {
  #session;

  constructor(session) {
    this.#session = session;
  }

  prepare(sql) { return this.#session.prepare(sql); }
  async batch(statements) { return this.#session.batch(statements); }
  getBookmark() { return /^first-/.test(this.#session.at) ? null : this.#session.at; }
}

export class D1Database {
  #session;

  constructor(name) {
    this.#session = new Session(name, undefined);
  }

  prepare(sql) { return this.#session.prepare(sql); }
  async batch(statements) { return this.#session.batch(statements); }
  async exec(sql) { return this.#session.ask('d1.exec', String(sql)); }

  withSession(constraintOrBookmark = 'first-unconstrained') {
    return new D1DatabaseSession(new Session(this.#session.name, String(constraintOrBookmark)));
  }

  async dump() {
    throw new Error('D1_ERROR: dump() is not supported; export the database through the API.');
  }
}
