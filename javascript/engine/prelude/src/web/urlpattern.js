// URLPattern, from urlpattern-polyfill, which makes the global itself where there is none.
import { URLPattern } from 'urlpattern-polyfill';
import { define, describeClass } from '../define.js';

Object.defineProperty(URLPattern, 'name', { value: 'URLPattern' });
describeClass(URLPattern, [
  'protocol', 'username', 'password', 'hostname', 'port', 'pathname', 'search', 'hash', 'hasRegExpGroups', 'test', 'exec',
]);
define({ URLPattern });
