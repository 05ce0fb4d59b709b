// Five routes of Hono, as an application has them: text, JSON, a parameter, a body, and one behind a middleware.
import { Hono } from "hono";

const app = new Hono();

app.use("/admin/*", async (context, next) => {
  if (context.req.header("authorization") !== "Bearer open sesame") {
    return context.text("unauthorized", 401);
  }
  await next();
});

app.get("/", (context) => context.text("Hello Hono!"));
app.get("/json", (context) => context.json({ hello: "world", at: context.req.path }));
app.get("/users/:id", (context) => context.json({ id: context.req.param("id"), q: context.req.query("q") ?? null }));
app.post("/echo", async (context) => context.json(await context.req.json(), 201));
app.get("/admin/stats", (context) => context.json({ visits: 42 }));

export default app;
