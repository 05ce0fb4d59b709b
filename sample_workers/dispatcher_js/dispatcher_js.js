// A dispatch worker: the first label of the hostname names the tenant's worker, and PLANS says which plan it has.
const LIMITS = {
  free: { cpuMs: 20, subRequests: 2 },
  pro: { cpuMs: 500, subRequests: 50 },
};

export default {
  async fetch(request, env) {
    const [tenant] = new URL(request.url).hostname.split(".");
    const known = await env.PLANS.get(tenant);
    const plan = Object.hasOwn(LIMITS, known) ? known : "free";
    // What `outbound` holds is for the outbound worker alone: the tenant's worker doesn't see it.
    const worker = env.DISPATCHER.get(tenant, { plan }, { limits: LIMITS[plan], outbound: { plan } });
    try {
      return await worker.fetch(request);
    } catch (error) {
      if (error.message.startsWith("Worker not found")) return new Response("There is no such shop.\n", { status: 404 });
      console.error(`${tenant}: ${error.message}`);
      return new Response("This shop is out of order.\n", { status: 502 });
    }
  },
};
