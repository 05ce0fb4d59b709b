// `node:url`: WHATWG's classes, and the older functions over them. parse() takes what URL takes, or a path.
import * as querystring from './querystring.js';

export const { URL, URLSearchParams } = globalThis;
// Any scheme and host: of a path alone they are left out again.
const NOWHERE = 'http://nowhere.invalid';

export function parse(text, parsesQuery = false, slashes = false) {
  const isFull = URL.canParse(text);
  const isPath = !isFull && !(slashes && text.startsWith('//'));
  const url = new URL(text, NOWHERE);
  const search = url.search || (text.includes('?') ? '?' : null);
  const query = search === null ? (parsesQuery ? '' : null) : search.slice(1);
  const found = {
    protocol: isFull ? url.protocol : null,
    slashes: isFull ? /^[^:]+:\/\//.test(text) : isPath ? null : true,
    auth: url.username ? decodeURIComponent(url.username) + (url.password ? `:${decodeURIComponent(url.password)}` : '') : null,
    host: isPath ? null : url.host, port: isPath ? null : url.port || null, hostname: isPath ? null : url.hostname,
    hash: url.hash || null, search,
    query: parsesQuery ? querystring.parse(query) : query,
    pathname: isPath && !text.startsWith('/') ? text.split(/[?#]/)[0] || null : url.pathname,
  };
  found.path = (found.pathname ?? '') + (search ?? '') || null;
  found.href = isFull ? url.href : text;
  return found;
}

export function format(given, options = {}) {
  if (typeof given === 'string') return parse(given).href;
  if (given instanceof URL) {
    const url = new URL(given);
    if (options.auth === false) { url.username = ''; url.password = ''; }
    if (options.fragment === false) url.hash = '';
    if (options.search === false) url.search = '';
    return url.href;
  }
  const protocol = given.protocol ? given.protocol.replace(/:?$/, ':') : '';
  const host = given.host ?? (given.hostname ? given.hostname + (given.port ? `:${given.port}` : '') : '');
  const auth = given.auth ? `${encodeURIComponent(given.auth).replace(/%3A/i, ':')}@` : '';
  const slashes = given.slashes || (host && /^(https?|ftp|file|wss?):$/.test(protocol)) ? '//' : '';
  const query = given.search ?? (given.query && typeof given.query === 'object' ? querystring.stringify(given.query) : given.query ?? '');
  const search = query ? query.replace(/^\??/, '?') : '';
  const hash = given.hash ? given.hash.replace(/^#?/, '#') : '';
  const path = given.pathname ?? '';
  return `${protocol}${slashes}${auth}${host}${slashes && path && !path.startsWith('/') ? '/' : ''}${path}${search}${hash}`;
}

export function resolve(from, to) {
  const url = new URL(to, new URL(from, NOWHERE));
  return url.origin === NOWHERE && !URL.canParse(to) ? url.href.slice(NOWHERE.length) : url.href;
}

export function fileURLToPath(given) {
  const url = new URL(given);
  if (url.protocol !== 'file:') throw new TypeError('The URL must be of scheme file');
  return decodeURIComponent(url.pathname);
}

export function pathToFileURL(path) {
  const url = new URL('file:///');
  url.pathname = path.replaceAll('%', '%25');
  return url;
}

export function urlToHttpOptions(url) {
  const { protocol, hostname, hash, search, pathname, href, port } = url;
  return {
    protocol, hostname: hostname.replace(/^\[|\]$/g, ''), hash, search, pathname, path: pathname + search, href,
    ...(port ? { port: Number(port) } : {}), ...(url.username ? { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` } : {}),
  };
}

export default { URL, URLSearchParams, parse, format, resolve, fileURLToPath, pathToFileURL, urlToHttpOptions };
