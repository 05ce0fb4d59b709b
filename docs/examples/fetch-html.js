// A page of another site.
export default {
  async fetch(request, env) {
    const answer = await fetch(`${env.ORIGIN}/page.html`);
    const text = await answer.text();
    return new Response(text, { headers: { "content-type": answer.headers.get("content-type") ?? "text/html" } });
  },
};
