// What another site answers, but for what only GET may.
export default {
  fetch(request, env) {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response(`Method ${request.method} not allowed.`, { status: 405, headers: { allow: "GET, HEAD" } });
    }
    return fetch(`${env.ORIGIN}/page.html`);
  },
};
