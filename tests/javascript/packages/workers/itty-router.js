import { AutoRouter, IttyRouter, Router, StatusError, cors, createResponse, error, html, json, status, text, withContent, withCookies, withParams } from "itty-router";
import { examples } from "./examples.js";

const auto = AutoRouter();
auto
  .get("/hello/:name", ({ name }) => `Hello, ${name}!`)
  .get("/json", () => ({ a: [1] }))
  .get("/greedy/:rest+", ({ rest }) => rest)
  .get("/optional/:id?", ({ id }) => id ?? "none")
  .get("/files/:name.:ending", ({ name, ending }) => [name, ending])
  .get("/query", ({ query }) => query)
  .get("/promise", () => Promise.resolve("later"))
  .get("/teapot", () => error(418, "I am a teapot"))
  .get("/broken", (request) => request.nothing.here)
  .get("/needs", ({ headers }) => { if (!headers.get("authorization")) throw new StatusError(401, { error: "who?" }); return "in"; })
  .get("/nothing", () => status(204));

const { preflight, corsify } = cors({ origin: ["https://example.com"], credentials: true });
const shared = AutoRouter({ before: [preflight], finally: [corsify] });
shared.get("/a", () => ({ shared: true }));

const withUser = (request) => { request.user = request.headers.get("x-user"); };
const onlyUsers = (request) => (request.user ? undefined : error(403, "users only"));
const child = IttyRouter({ base: "/child" }).get("/:id", ({ params }) => `child ${params.id}`);
const plain = Router({ before: [withParams, withCookies], catch: error, finally: [(answer) => answer ?? error(404), json] });
plain
  .get("/cookies", ({ cookies }) => cookies)
  .post("/echo", withContent, ({ content }) => ({ got: content }))
  .get("/secret", withUser, onlyUsers, ({ user }) => ({ user }))
  .all("/child/*", child.fetch)
  .get("/text", () => text("plain"))
  .get("/html", () => html("<p>"))
  .get("/own", () => createResponse("text/csv", (rows) => rows.map((row) => row.join()).join("\n"))([[1, 2], [3, 4]]))
  .get("/env", (_request, env) => ({ name: env.NAME }));

async function ask(router, path, init, ...names) {
  const answer = await router.fetch(new Request(`https://example.com${path}`, init), { NAME: "a variable" });
  return [answer.status, await answer.text(), ...names.map((name) => answer.headers.get(name))];
}
const asking = (path, init, ...names) => ask(auto, path, init, ...names);

const worker = examples([
  ["a route parameter", () => asking("/hello/world"), [200, '"Hello, world!"']],
  ["JSON of itself", () => asking("/json", {}, "content-type"), [200, '{"a":[1]}', "application/json; charset=utf-8"]],
  ["greedy, optional, with an ending", async () => [await asking("/greedy/a/b"), await asking("/optional"), await asking("/files/a.txt")], [[200, '"a/b"'], [200, '"none"'], [200, '["a","txt"]']]],
  ["queries, also several of a name", () => asking("/query?a=1&b=2&b=3"), [200, '{"a":"1","b":["2","3"]}']],
  ["a promise", () => asking("/promise"), [200, '"later"']],
  ["nothing matches", () => asking("/none"), [404, '{"status":404,"error":"Not Found"}']],
  ["errors that are answered, and that are thrown", async () => [await asking("/teapot"), await asking("/needs"), (await asking("/broken"))[0]], [[418, '{"status":418,"error":"I am a teapot"}'], [401, '{"status":401,"error":"who?"}'], 500]],
  ["a status alone", () => asking("/nothing"), [204, ""]],
  ["CORS", async () => [await ask(shared, "/a", { headers: { Origin: "https://example.com" } }, "access-control-allow-origin"), (await ask(shared, "/a", { method: "OPTIONS", headers: { Origin: "https://example.com" } }, "access-control-allow-origin")).slice(0, 3)], [[200, '{"shared":true}', "https://example.com"], [204, "", "https://example.com"]]],
  ["cookies", () => ask(plain, "/cookies", { headers: { Cookie: "a=1; b=2" } }), [200, '{"a":"1","b":"2"}']],
  ["content", async () => [await ask(plain, "/echo", { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json" } }), await ask(plain, "/echo", { method: "POST", body: "text" })], [[200, '{"got":{"a":1}}'], [200, '{"got":"text"}']]],
  ["middleware that ends the request", async () => [(await ask(plain, "/secret"))[0], await ask(plain, "/secret", { headers: { "x-user": "joe" } })], [403, [200, '{"user":"joe"}']]],
  ["a router in a router", () => ask(plain, "/child/7"), [200, '"child 7"']],
  ["kinds of response", async () => [await ask(plain, "/text", {}, "content-type"), await ask(plain, "/html", {}, "content-type"), await ask(plain, "/own", {}, "content-type")], [[200, "plain", "text/plain; charset=utf-8"], [200, "<p>", "text/html"], [200, "1,2\n3,4", "text/csv"]]],
  ["env", () => ask(plain, "/env"), [200, '{"name":"a variable"}']],
]);

export default {
  fetch: (request, env, ctx) => (new URL(request.url).pathname === "/examples" ? worker.fetch(request, env) : auto.fetch(request, env, ctx)),
};
