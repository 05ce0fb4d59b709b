// Half of the visitors see the control, half the test; a cookie keeps each with theirs.
const NAME = "myExampleWorkersABTest";

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/control") || pathname.startsWith("/test")) return fetch(env.ORIGIN + pathname);
    const cookie = request.headers.get("cookie") ?? "";
    const known = ["control", "test"].find((group) => cookie.includes(`${NAME}=${group}`));
    const group = known ?? (Math.random() < 0.5 ? "test" : "control");
    const answer = await fetch(`${env.ORIGIN}/${group}${pathname}`);
    if (known) return answer;
    const response = new Response(answer.body, answer);
    response.headers.append("set-cookie", `${NAME}=${group}; path=/`);
    return response;
  },
};
