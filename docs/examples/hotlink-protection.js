// Pictures are shown on the site's own pages; elsewhere, visitors are led to its home page.
const HOME = "https://www.example.com/";

export default {
  async fetch(request, env) {
    const answer = await fetch(env.ORIGIN + new URL(request.url).pathname);
    const referer = request.headers.get("referer");
    const type = answer.headers.get("content-type") ?? "";
    if (referer && type.startsWith("image/") && new URL(referer).hostname !== new URL(HOME).hostname) return Response.redirect(HOME, 302);
    return answer;
  },
};
