// `node:buffer`, from the package of that name.
import * as buffer from 'buffer';
import { Blob, File } from '../../web/blob.js';

export const { Buffer, INSPECT_MAX_BYTES, SlowBuffer, kMaxLength } = buffer;
export const constants = { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 30 - 1 };
export const { atob, btoa } = globalThis;
export const isUtf8 = (bytes) => {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
};
export { Blob, File };
export default { Buffer, INSPECT_MAX_BYTES, SlowBuffer, kMaxLength, constants, atob, btoa, isUtf8, Blob, File };
