// An API that says nothing about CORS, behind /corsproxy/?apiurl=ADDRESS, for pages of other origins.
const ALLOWED = { "access-control-allow-origin": "*", "access-control-allow-methods": "GET,HEAD,POST,OPTIONS", "access-control-max-age": "86400" };

function preflight(request) {
  const { headers } = request;
  const asks = ["origin", "access-control-request-method", "access-control-request-headers"].every((name) => headers.has(name));
  if (!asks) return new Response(null, { headers: { allow: "GET, HEAD, POST, OPTIONS" } });
  return new Response(null, { headers: { ...ALLOWED, "access-control-allow-headers": headers.get("access-control-request-headers") } });
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (!url.pathname.startsWith("/corsproxy/")) return new Response("Ask /corsproxy/\n", { status: 404 });
    if (request.method === "OPTIONS") return preflight(request);
    if (!["GET", "HEAD", "POST"].includes(request.method)) return new Response(null, { status: 405, statusText: "Method Not Allowed" });
    const target = url.searchParams.get("apiurl") ?? `${env.ORIGIN}/api`;
    const passed = new Request(target, request);
    // As if the page were the API's own.
    passed.headers.set("origin", new URL(target).origin);
    const answer = await fetch(passed);
    const response = new Response(answer.body, answer);
    response.headers.set("access-control-allow-origin", url.origin);
    response.headers.append("vary", "Origin");
    return response;
  },
};
