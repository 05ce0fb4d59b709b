// JSON is sent, and its answer passed on as what it is.
export default {
  async fetch(request, env) {
    const answer = await fetch(`${env.ORIGIN}/echo`, {
      body: JSON.stringify({ results: ["default data to send"], errors: null, msg: "I sent this to the fetch" }),
      method: "POST",
      headers: { "content-type": "application/json;charset=UTF-8" },
    });
    return new Response(JSON.stringify(await answer.json()), { headers: { "content-type": "application/json;charset=UTF-8" } });
  },
};
