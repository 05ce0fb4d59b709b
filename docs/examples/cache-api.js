// What the origin said is kept for ten seconds, by address. `caches` is the worker's cache binding.
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const key = new Request(url.toString(), request);
    const cache = caches.default;
    const kept = await cache.match(key);
    if (kept) return kept;
    const answer = await fetch(`${env.ORIGIN}/time${url.search}`);
    const response = new Response(answer.body, answer);
    response.headers.append("cache-control", "s-maxage=10");
    ctx.waitUntil(cache.put(key, response.clone()));
    return response;
  },
};
