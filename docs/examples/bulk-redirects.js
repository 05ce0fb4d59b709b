// Some paths to where a map says, the others as they were.
const MOVED = new Map([
  ["/old", "https://new.example.com/here"],
  ["/docs", "https://docs.example.com/?from=old"],
]);

export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    const target = MOVED.get(pathname.replace(/(.)\/$/, "$1"));
    return target === undefined ? new Response("not moved\n") : Response.redirect(target, 302);
  },
};
