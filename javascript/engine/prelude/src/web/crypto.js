// Web Crypto: randomness, and `crypto.subtle` (subtle.js).
import { define, describeClass } from '../define.js';
import { fillRandom } from '../host.js';
import { DigestStream } from './digest_stream.js';
import { subtle } from './subtle.js';

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

class Crypto {
  get subtle() { return subtle; }
  get DigestStream() { return DigestStream; }

  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || view instanceof DataView || view instanceof Float32Array || view instanceof Float64Array) {
      throw new DOMException('an integer typed array is expected', 'TypeMismatchError');
    }
    if (view.byteLength > 65536) throw new DOMException('at most 65536 bytes at once', 'QuotaExceededError');
    fillRandom(view);
    return view;
  }

  randomUUID() {
    const bytes = fillRandom(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => HEX[byte]).join('');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }
}

describeClass(Crypto, ['subtle', 'getRandomValues', 'randomUUID', 'DigestStream']);
define({ Crypto, crypto: new Crypto() });
