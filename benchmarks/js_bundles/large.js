// A large application's bundle: Hono, its middlewares and zod, all of which is evaluated at the top level.
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { bearerAuth } from "hono/bearer-auth";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { etag } from "hono/etag";
import { secureHeaders } from "hono/secure-headers";
import { validator } from "hono/validator";
import * as zod from "zod";

const Note = zod.object({
  title: zod.string().min(1).max(120),
  text: zod.string(),
  tags: zod.array(zod.string()).default([]),
  created: zod.iso.datetime().optional(),
});

const app = new Hono();
app.use(cors(), secureHeaders());
app.use("/notes", bodyLimit({ maxSize: 100_000 }));
app.use("/admin/*", basicAuth({ username: "admin", password: "open sesame" }));
app.use("/api/*", bearerAuth({ token: "token" }), etag());

// All of zod's names are used here, so that the bundler leaves none out.
const names = Object.keys(zod).length;

app.get("/", (context) => context.text(`large, ${names > 100}`));
app.get("/admin/stats", (context) => context.json({ visits: 42 }));
app.get("/api/notes", (context) => context.json([]));
app.post(
  "/notes",
  validator("json", (value, context) => {
    const read = Note.safeParse(value);
    return read.success ? read.data : context.json({ issues: read.error.issues }, 400);
  }),
  (context) => context.json(context.req.valid("json"), 201),
);

export default app;
