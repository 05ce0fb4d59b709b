// What is done depends on which of several schedules it is; the answer tells what was done last.
const WORK = { "*/3 * * * *": "every three minutes", "*/10 * * * *": "every ten minutes", "45 * * * *": "once an hour" };

export default {
  async scheduled(controller, env, ctx) {
    ctx.waitUntil(env.DONE.put("last", `${WORK[controller.cron] ?? "another"} at ${controller.scheduledTime}`));
  },
  async fetch(request, env) {
    return new Response(await env.DONE.get("last"), { status: 200 });
  },
};
