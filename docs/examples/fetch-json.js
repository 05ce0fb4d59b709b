// A JSON API's answer, and what it was, by its content type.
async function gather(response) {
  const type = response.headers.get("content-type") ?? "";
  return type.includes("application/json") ? { json: await response.json() } : { text: await response.text() };
}

export default {
  async fetch(request, env) {
    const answer = await fetch(env.ORIGIN + new URL(request.url).pathname, { headers: { accept: "application/json" } });
    return Response.json(await gather(answer));
  },
};
