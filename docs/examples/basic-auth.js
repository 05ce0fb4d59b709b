// A name and a password (RFC 7617), the latter a secret, compared in constant time.
import { Buffer } from "node:buffer";

const encoder = new TextEncoder();

async function equal(a, b) {
  // Digests have one length: that of the password is not told by how long the comparison takes.
  const [x, y] = await Promise.all([a, b].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))));
  return crypto.subtle.timingSafeEqual(x, y);
}

const ask = () => new Response("Who are you?\n", { status: 401, headers: { "www-authenticate": 'Basic realm="admin", charset="UTF-8"' } });

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response("Anybody may see this.\n");
    if (pathname === "/logout") return new Response("Logged out.\n", { status: 401 });
    if (pathname !== "/admin") return new Response("Not found.\n", { status: 404 });
    const [scheme, encoded] = (request.headers.get("authorization") ?? "").split(" ");
    if (scheme !== "Basic" || !encoded) return ask();
    const credentials = Buffer.from(encoded, "base64").toString();
    const at = credentials.indexOf(":");
    const [name, password] = [credentials.slice(0, at), credentials.slice(at + 1)];
    if (!(await equal(name, "admin")) || !(await equal(password, env.PASSWORD))) return ask();
    return new Response("You may see this.\n", { headers: { "cache-control": "no-store" } });
  },
};
