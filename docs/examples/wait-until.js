// Work that goes on when the visitor has their answer.
async function count(env, path) {
  await scheduler.wait(20);
  await env.COUNTS.put(path, String(Number((await env.COUNTS.get(path)) ?? 0) + 1));
}

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/counts")) return new Response((await env.COUNTS.get(pathname.slice("/counts".length))) ?? "0");
    ctx.waitUntil(count(env, pathname));
    return new Response("thank you\n");
  },
};
