// A rate limit.
import { operation } from '../host.js';

export class RateLimit {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async limit(options) {
    return operation('rate_limit.limit', this.#name, { key: String(options?.key) });
  }
}
