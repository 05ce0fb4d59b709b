// /generate/PATH makes an address that holds for a minute; any other is served when its MAC is right and it has not expired.
const LIFE_S = 60;
const encoder = new TextEncoder();

const keyOf = (secret) => crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
const signed = (path, expires) => encoder.encode(`${path}@${expires}`);

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const key = await keyOf(env.SIGNING_KEY);
    if (url.pathname.startsWith("/generate/")) {
      url.pathname = url.pathname.slice("/generate".length);
      const expires = Math.floor(Date.now() / 1000) + LIFE_S;
      const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed(url.pathname, expires)));
      url.searchParams.set("verify", `${expires}-${mac.toBase64({ alphabet: "base64url" })}`);
      return new Response(url.pathname + url.search);
    }
    const [, expires, mac] = /^(\d+)-(.+)$/.exec(url.searchParams.get("verify") ?? "") ?? [];
    if (!expires) return new Response("Missing query parameter\n", { status: 403 });
    const given = Uint8Array.fromBase64(mac, { alphabet: "base64url" });
    if (!(await crypto.subtle.verify("HMAC", key, given, signed(url.pathname, expires)))) return new Response("Invalid MAC\n", { status: 403 });
    if (Date.now() / 1000 > Number(expires)) return new Response("URL expired\n", { status: 403 });
    return new Response(`The secret page ${url.pathname}\n`);
  },
};
