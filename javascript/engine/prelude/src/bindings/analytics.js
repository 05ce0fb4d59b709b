// A dataset of analytics: what is written is written when somebody gets to it.
import { log, operation } from '../host.js';

export class AnalyticsEngineDataset {
  #name;

  constructor(name) {
    this.#name = name;
  }

  writeDataPoint(point = {}) {
    const { indexes, blobs, doubles } = point ?? {};
    const given = {};
    if (indexes !== undefined && indexes !== null) given.indexes = [...indexes];
    if (blobs !== undefined && blobs !== null) given.blobs = [...blobs];
    if (doubles !== undefined && doubles !== null) given.doubles = [...doubles];
    operation('analytics.write', this.#name, given).catch((error) => log(3, `writeDataPoint: ${error.message}`));
  }
}
