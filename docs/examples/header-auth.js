// Whoever has the key that was agreed on is passed on to the origin.
export default {
  fetch(request, env) {
    if (request.headers.get("x-custom-psk") !== env.KEY) return new Response("Sorry, you have supplied an invalid key.\n", { status: 403 });
    const { pathname } = new URL(request.url);
    return fetch(new Request(env.ORIGIN + pathname, request));
  },
};
