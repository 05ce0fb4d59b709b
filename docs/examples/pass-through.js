// On Cloudflare a worker that fails would be left out, and the origin asked. There is none behind a worker here: the method is
// there, and the visitor sees the error. What has to go on is caught.
export default {
  async fetch(request, env, ctx) {
    ctx.passThroughOnException();
    if (new URL(request.url).pathname === "/fails") throw new Error("nobody caught this");
    try {
      throw new Error("broken");
    } catch {
      return fetch(`${env.ORIGIN}/a`);
    }
  },
};
