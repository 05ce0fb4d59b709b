// Another worker checks who asks; it is called without leaving the host.
export default {
  async fetch(request, env) {
    const checked = await env.AUTH.fetch(request.clone());
    if (checked.status !== 200) return checked;
    return new Response(`Hello, ${await checked.text()}`);
  },
};
