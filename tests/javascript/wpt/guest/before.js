// What a page expects of where it runs: an address, and its own files to fetch.
{
  const { URL, Request, Response, fetch } = globalThis;
  // The one script of the tests' server that matters: it answers what it is sent.
  const ECHO = 'fetch/api/resources/echo-content.py';
  globalThis.GLOBAL = { isWindow: () => false, isWorker: () => false, isShadowRealm: () => false };
  const { href, origin, protocol, host, hostname, pathname } = new URL(GIVEN.url);
  globalThis.location = { href, origin, protocol, host, hostname, pathname, search: GIVEN.search, toString: () => href };
  globalThis.fetch = (input, init) => {
    if (typeof input !== 'string') return fetch(input, init);
    const path = new URL(input, href).pathname.slice(1);
    if (path === ECHO) return new Request(href, init).bytes().then((bytes) => new Response(bytes));
    return path in GIVEN.files ? Promise.resolve(new Response(GIVEN.files[path])) : fetch(input, init);
  };
}
