// What is answered depends on who asks: agent, address, method, body.
const BLOCKED_HOSTNAMES = ["nope.example.com"];

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (BLOCKED_HOSTNAMES.includes(url.hostname)) return new Response("Blocked Host", { status: 403 });
    if (/\.(doc|xml)$/.test(url.pathname)) return new Response("Blocked Extension", { status: 403 });
    if (request.method === "POST") return new Response("Response for POST");
    if ((request.headers.get("user-agent") ?? "").includes("bot")) return new Response("Block User Agent containing bot", { status: 403 });
    if (request.headers.get("cf-connecting-ip") === env.BLOCKED_IP) return new Response("Block the IP", { status: 403 });
    return new Response("Everybody else");
  },
};
