// An outbound worker: asked before a request of a tenant's worker leaves. Params that a dispatch worker passed are in
// `env`; who asks is in `ctx.props`.
export default {
  async fetch(request, env, ctx) {
    const { host } = new URL(request.url);
    const open = env.FREE_HOSTS.split(",");
    if (env.plan !== "pro" && !open.includes(host)) {
      return new Response(`The plan ${env.plan ?? "free"} does not reach ${host}.\n`, { status: 403 });
    }
    const headers = new Headers(request.headers);
    headers.set("x-tenant", ctx.props["tenantry.tenant"]);
    headers.delete("cookie");
    return fetch(new Request(request, { headers }));
  },
};
