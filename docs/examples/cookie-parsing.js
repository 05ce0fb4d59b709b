// One cookie's value, read from the header.
const NAME = "__uid";

function cookiesOf(header) {
  const pairs = header.split(";").map((pair) => pair.trim()).filter(Boolean);
  return new Map(pairs.map((pair) => {
    const at = pair.indexOf("=");
    return at < 0 ? [pair, ""] : [pair.slice(0, at), decodeURIComponent(pair.slice(at + 1))];
  }));
}

export default {
  fetch(request) {
    const value = cookiesOf(request.headers.get("cookie") ?? "").get(NAME);
    return new Response(value ?? `No cookie with name: ${NAME}`);
  },
};
