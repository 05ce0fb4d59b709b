// The origin's answer with another status, one header more, and one property of its JSON changed.
export default {
  async fetch(request, env) {
    const original = await fetch(`${env.ORIGIN}/todos/1`);
    const body = { ...(await original.json()), foo: "bar" };
    const response = new Response(JSON.stringify(body), { status: 203, statusText: "some message", headers: original.headers });
    response.headers.set("foo", "bar");
    return response;
  },
};
