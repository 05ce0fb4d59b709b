// A module of the worker: `tenantry deploy` sends what its main module imports.
export function noteName(request) {
  return decodeURIComponent(new URL(request.url).pathname.slice(1));
}

export function text(status, body, served = 0) {
  return new Response(body, { status, headers: { "x-served": String(served) } });
}
