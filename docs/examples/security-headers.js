// Pages get the headers that keep browsers strict; what says too much is removed; old TLS would be refused here.
const SET = {
  "content-security-policy": "default-src 'self' example.com *.example.com",
  "strict-transport-security": "max-age=1000",
  "permissions-policy": "interest-cohort=()",
  "x-xss-protection": "0",
  "x-frame-options": "DENY",
  "x-content-type-options": "nosniff",
  "referrer-policy": "strict-origin-when-cross-origin",
  "cross-origin-embedder-policy": 'require-corp; report-to="default";',
  "cross-origin-opener-policy": 'same-site; report-to="default";',
  "cross-origin-resource-policy": "same-site",
};
const REMOVED = ["public-key-pins", "x-powered-by", "x-aspnet-version"];

export default {
  async fetch(request, env) {
    const answer = await fetch(env.ORIGIN + new URL(request.url).pathname);
    const headers = new Headers(answer.headers);
    if (!headers.get("content-type")?.startsWith("text/html")) return new Response(answer.body, { status: answer.status, headers });
    for (const [name, value] of Object.entries(SET)) headers.set(name, value);
    for (const name of REMOVED) headers.delete(name);
    return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
  },
};
