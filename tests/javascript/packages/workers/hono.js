import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { bearerAuth } from "hono/bearer-auth";
import { bodyLimit } from "hono/body-limit";
import { getCookie, getSignedCookie, setCookie, setSignedCookie } from "hono/cookie";
import { cors } from "hono/cors";
import { csrf } from "hono/csrf";
import { etag } from "hono/etag";
import { createFactory } from "hono/factory";
import { html, raw } from "hono/html";
import { HTTPException } from "hono/http-exception";
import { jwt, sign, verify } from "hono/jwt";
import { logger } from "hono/logger";
import { poweredBy } from "hono/powered-by";
import { prettyJSON } from "hono/pretty-json";
import { proxy } from "hono/proxy";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import { stream, streamSSE, streamText } from "hono/streaming";
import { trimTrailingSlash } from "hono/trailing-slash";
import { validator } from "hono/validator";
import { examples } from "./examples.js";

const app = new Hono();
const SECRET = "it-is-very-secret";

app.use("*", poweredBy(), requestId());
app.use("/logged/*", logger((line) => lines.push(line.replace(/\d+m?s$/, "took"))));
app.use("/headers/*", secureHeaders(), cors({ origin: "https://example.com", allowMethods: ["GET", "POST"], credentials: true }));
app.use("/tagged/*", etag());
app.use("/basic/*", basicAuth({ username: "hono", password: "acoolproject" }));
app.use("/bearer/*", bearerAuth({ token: "honoiscool" }));
app.use("/jwt/*", jwt({ secret: SECRET, alg: "HS256" }));
app.use("/forms/*", csrf());
app.use("/timed/*", async (c, next) => {
  await next();
  c.header("X-Seen", "after");
});

const lines = [];
app.get("/", (c) => c.text("Hono!"));
app.get("/posts/:id{[0-9]+}", (c) => c.json({ id: c.req.param("id"), page: c.req.query("page") ?? null, tags: c.req.queries("tag") ?? [] }));
app.get("/files/*", (c) => c.text(c.req.path));
app.get("/optional/:kind?", (c) => c.text(c.req.param("kind") ?? "all"));
app.post("/posts", async (c) => c.json(await c.req.json(), 201, { Location: "/posts/1" }));
app.put("/form", async (c) => {
  const { text, file, many } = await c.req.parseBody({ all: true });
  return c.json([text, await file.text(), many]);
});
app.get("/old", (c) => c.redirect("/new", 301));
app.get("/headers/a", (c) => c.text("a"));
app.get("/tagged/a", (c) => c.text("tagged"));
app.get("/basic/a", (c) => c.text("in"));
app.get("/bearer/a", (c) => c.text("in"));
app.get("/jwt/a", (c) => c.json(c.get("jwtPayload")));
app.post("/forms/a", (c) => c.text("taken"));
app.get("/timed/a", (c) => c.text("timed"));
app.get("/logged/a", (c) => c.text("logged"));
app.get("/env", (c) => c.text(`${c.env.NAME} ${typeof c.executionCtx.waitUntil}`));
app.get("/html/:name", (c) => c.html(html`<p>${c.req.param("name")}</p>${raw("<hr>")}`));
app.get("/pretty", prettyJSON(), (c) => c.json({ a: 1 }));
app.get("/cookies", async (c) => {
  setCookie(c, "plain", "a b", { path: "/", secure: true, sameSite: "Strict", maxAge: 60 });
  await setSignedCookie(c, "signed", "value", SECRET);
  return c.json([getCookie(c, "given") ?? null, await getSignedCookie(c, SECRET, "signed")]);
});
app.get("/text", (c) => streamText(c, async (out) => {
  for (const word of ["one", "two"]) {
    await out.writeln(word);
    await out.sleep(1);
  }
}));
app.get("/events", (c) => streamSSE(c, async (out) => {
  for (let id = 0; id < 2; id++) await out.writeSSE({ data: `at ${id}`, event: "tick", id: String(id) });
}));
app.get("/bytes", (c) => stream(c, async (out) => {
  await out.write(new Uint8Array([72, 105]));
  await out.pipe(new Blob([" there"]).stream());
}));
app.post("/limited", bodyLimit({ maxSize: 10, onError: (c) => c.text("too large", 413) }), async (c) => c.text(await c.req.text()));
app.post("/checked", validator("json", (value, c) => (typeof value.title === "string" ? { title: value.title } : c.text("no title", 400))), (c) => c.json(c.req.valid("json")));
app.get("/factory", ...createFactory().createHandlers(async (c, next) => { c.set("by", "factory"); await next(); }, (c) => c.text(c.var.by)));
app.get("/forbidden", () => { throw new HTTPException(403, { message: "not you" }); });
app.get("/broken", () => { throw new Error("broken"); });
app.on(["PURGE", "LINK"], "/cache", (c) => c.text(c.req.method));
app.all("/any", (c) => c.text(c.req.method));
app.get("/proxied", (c) => proxy("https://upstream.example.com/a", { headers: c.req.header() }));
app.notFound((c) => c.text("nothing here", 404));
app.onError((error, c) => (error instanceof HTTPException ? error.getResponse() : c.text(`sorry: ${error.message}`, 500)));

const books = new Hono().get("/", (c) => c.text("all books")).get("/:isbn", (c) => c.text(`book ${c.req.param("isbn")}`));
app.route("/books", books);

const strict = new Hono({ strict: true }).use(trimTrailingSlash()).get("/a", (c) => c.text("a"));
const api = new Hono().basePath("/api").get("/a", (c) => c.text("of the API"));

const ctx = { waitUntil() {}, passThroughOnException() {} };
// The status, the text, and those headers that are named.
async function ask(path, init, ...names) {
  const answer = await app.request(path, init, { NAME: "a variable" }, ctx);
  return [answer.status, await answer.text(), ...names.map((name) => answer.headers.get(name))];
}
const json = (method, value) => ({ method, body: JSON.stringify(value), headers: { "Content-Type": "application/json" } });
const headers = (given, method = "GET") => ({ method, headers: given });

function form() {
  const made = new FormData();
  made.append("text", "a text");
  made.append("file", new File(["of a file"], "a.txt", { type: "text/plain" }));
  made.append("many", "1");
  made.append("many", "2");
  return made;
}

const worker = examples([
  ["text", () => ask("/", {}, "content-type", "x-powered-by"), [200, "Hono!", "text/plain; charset=UTF-8", "Hono"]],
  ["parameters and queries", () => ask("/posts/42?page=2&tag=a&tag=b"), [200, '{"id":"42","page":"2","tags":["a","b"]}']],
  ["a pattern that does not match", () => ask("/posts/x"), [404, "nothing here"]],
  ["wildcards and optional parameters", async () => [await ask("/files/a/b"), await ask("/optional"), await ask("/optional/one")], [[200, "/files/a/b"], [200, "all"], [200, "one"]]],
  ["JSON in and out", () => ask("/posts", json("POST", { a: [1] }), "location"), [201, '{"a":[1]}', "/posts/1"]],
  ["a form with a file", () => ask("/form", { method: "PUT", body: form() }), [200, '["a text","of a file",["1","2"]]']],
  ["redirect", () => ask("/old", {}, "location"), [301, "", "/new"]],
  ["security headers and CORS", () => ask("/headers/a", headers({ Origin: "https://example.com" }), "x-frame-options", "strict-transport-security", "access-control-allow-origin", "access-control-allow-credentials"), [200, "a", "SAMEORIGIN", "max-age=15552000; includeSubDomains", "https://example.com", "true"]],
  ["a preflight", () => ask("/headers/a", headers({ Origin: "https://example.com", "Access-Control-Request-Method": "POST" }, "OPTIONS"), "access-control-allow-methods"), [204, "", "GET,POST"]],
  ["ETag", async () => {
    const first = await app.request("/tagged/a");
    const again = await ask("/tagged/a", headers({ "If-None-Match": first.headers.get("etag") }));
    return [first.headers.get("etag"), again];
  }, ['"8e1ec218dc7ecaadd65388fba9b6723ce114268a"', [304, ""]]],
  ["basic authentication", async () => [(await ask("/basic/a"))[0], await ask("/basic/a", headers({ Authorization: `Basic ${btoa("hono:acoolproject")}` }))], [401, [200, "in"]]],
  ["bearer tokens", async () => [(await ask("/bearer/a", headers({ Authorization: "Bearer other" })))[0], await ask("/bearer/a", headers({ Authorization: "Bearer honoiscool" }))], [401, [200, "in"]]],
  ["JSON Web Tokens", async () => {
    const token = await sign({ sub: "joe", exp: Math.floor(Date.now() / 1000) + 300 }, SECRET, "HS256");
    const old = await sign({ sub: "joe", exp: 1 }, SECRET, "HS256");
    const [status, text] = await ask("/jwt/a", headers({ Authorization: `Bearer ${token}` }));
    return [status, JSON.parse(text).sub, (await ask("/jwt/a", headers({ Authorization: `Bearer ${old}` })))[0], (await verify(token, SECRET, "HS256")).sub];
  }, [200, "joe", 401, "joe"]],
  ["forms of another site are refused", async () => [(await ask("/forms/a", headers({ Origin: "https://other.example", "Content-Type": "application/x-www-form-urlencoded" }, "POST")))[0], (await ask("/forms/a", headers({ Origin: "http://localhost", "Content-Type": "application/x-www-form-urlencoded" }, "POST")))[0]], [403, 200]],
  ["what runs after the handler", () => ask("/timed/a", {}, "x-seen"), [200, "timed", "after"]],
  ["the logger", async () => { await ask("/logged/a"); return lines.map((line) => line.replace(/\x1b\[\d+m/g, "")); }, ["<-- GET /logged/a", "--> GET /logged/a 200 took"]],
  ["env and the execution context", () => ask("/env"), [200, "a variable function"]],
  ["html is escaped", () => ask("/html/%3Cb%3E", {}, "content-type"), [200, "<p>&lt;b&gt;</p><hr>", "text/html; charset=UTF-8"]],
  ["pretty JSON", () => ask("/pretty?pretty"), [200, '{\n  "a": 1\n}']],
  ["cookies are set", async () => {
    const answer = await app.request("/cookies");
    return answer.headers.getSetCookie().map((cookie) => cookie.replace(/signed=value\..*/, "signed=value.SIGNATURE"));
  }, ["plain=a%20b; Max-Age=60; Path=/; Secure; SameSite=Strict", "signed=value.SIGNATURE"]],
  ["cookies are read, and signatures checked", async () => {
    const [, signed] = (await app.request("/cookies")).headers.getSetCookie();
    const kept = signed.split(";")[0];
    return [await ask("/cookies", headers({ Cookie: `given=1; ${kept}` })), await ask("/cookies", headers({ Cookie: kept.replace("value.", "other.") }))];
  }, [[200, '["1","value"]'], [200, "[null,false]"]]],
  ["text that is streamed", () => ask("/text", {}, "content-type"), [200, "one\ntwo\n", "text/plain; charset=UTF-8"]],
  ["server-sent events", () => ask("/events", {}, "content-type"), [200, "event: tick\ndata: at 0\nid: 0\n\nevent: tick\ndata: at 1\nid: 1\n\n", "text/event-stream"]],
  ["bytes that are streamed", () => ask("/bytes"), [200, "Hi there"]],
  ["a body that is too large", async () => [await ask("/limited", { method: "POST", body: "x".repeat(11) }), await ask("/limited", { method: "POST", body: "fits" })], [[413, "too large"], [200, "fits"]]],
  ["a validator", async () => [await ask("/checked", json("POST", {})), await ask("/checked", json("POST", { title: "t", more: 1 }))], [[400, "no title"], [200, '{"title":"t"}']]],
  ["handlers of a factory", () => ask("/factory"), [200, "factory"]],
  ["errors", async () => [await ask("/forbidden"), await ask("/broken")], [[403, "not you"], [500, "sorry: broken"]]],
  ["other methods", async () => [await ask("/cache", { method: "PURGE" }), await ask("/any", { method: "DELETE" })], [[200, "PURGE"], [200, "DELETE"]]],
  ["groups of routes", async () => [await ask("/books"), await ask("/books/7")], [[200, "all books"], [200, "book 7"]]],
  ["a trailing slash", async () => { const answer = await strict.request("/a/"); return [answer.status, answer.headers.get("location")]; }, [301, "http://localhost/a"]],
  ["a base path", async () => (await api.request("/api/a")).text(), "of the API"],
]);

export default {
  fetch: (request, env, ctx) => (new URL(request.url).pathname === "/examples" ? worker.fetch(request, env) : app.fetch(request, env, ctx)),
};
