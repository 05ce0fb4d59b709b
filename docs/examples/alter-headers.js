// Headers of the origin's answer are added, changed and removed.
export default {
  async fetch(request, env) {
    const answer = await fetch(`${env.ORIGIN}/headers`);
    const response = new Response(answer.body, answer);
    response.headers.append("x-workers-hello", "Hello from a worker");
    response.headers.set("x-powered-by", "something else");
    response.headers.delete("x-internal");
    return response;
  },
};
