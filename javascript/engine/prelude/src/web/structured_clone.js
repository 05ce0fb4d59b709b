// structuredClone (HTML Standard), through the engine's own serialization.
import { define } from '../define.js';
import { clone } from '../host.js';

define({
  structuredClone: (value) => {
    try {
      return clone(value);
    } catch (error) {
      throw new DOMException(error.message, 'DataCloneError');
    }
  },
});
