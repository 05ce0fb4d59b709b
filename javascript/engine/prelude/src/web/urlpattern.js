// URLPattern, from urlpattern-polyfill, which makes the global itself where there is none.
import { URLPattern } from 'urlpattern-polyfill';
import { define } from '../define.js';

define({ URLPattern });
