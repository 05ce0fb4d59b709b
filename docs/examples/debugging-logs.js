// A failure is told to a log service after the visitor has their answer.
export default {
  async fetch(request, env, ctx) {
    try {
      const answer = await fetch(`${env.ORIGIN}/status/503`);
      if (!answer.ok) throw new Error(`The origin says ${answer.status}`);
      return answer;
    } catch (error) {
      ctx.waitUntil(fetch(`${env.ORIGIN}/log`, { method: "POST", body: error.stack ?? String(error) }));
      const shown = JSON.stringify(error.message || error);
      return new Response(shown, { status: 500, headers: { "x-debug-stack": error.stack.split("\n")[0] } });
    }
  },
};
