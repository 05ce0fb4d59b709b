// Everything to another site, with its path and query.
const BASE = "https://new.example.com";

export default {
  fetch(request) {
    const { pathname, search } = new URL(request.url);
    return Response.redirect(BASE + pathname + search, 301);
  },
};
