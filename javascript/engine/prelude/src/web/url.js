// URL and URLSearchParams (URL Standard), from whatwg-url-minimum: without IDNA's tables.
import { URL, URLSearchParams } from 'whatwg-url-minimum';
import { define } from '../define.js';

define({ URL, URLSearchParams });
export { URL, URLSearchParams };
