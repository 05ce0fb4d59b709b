// Notes with Hono: the texts are in the KV namespace NOTES, what there is of them in the SQL database DB.
import { Hono } from "hono";

interface Env {
  NOTES: KVNamespace;
  DB: D1Database;
  GREETING: string;
}

const MOST_BYTES = 64 * 1024;
const TABLE = "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, changed_ms INTEGER NOT NULL)";

const app = new Hono<{ Bindings: Env }>();

app.get("/", (c) => c.text(`${c.env.GREETING ?? "Notes"}: PUT, GET and DELETE /notes/NAME; GET /notes\n`));

app.get("/notes", async (c) => {
  const [, found] = await c.env.DB.batch([
    c.env.DB.prepare(TABLE),
    c.env.DB.prepare("SELECT name, bytes FROM notes ORDER BY name LIMIT 100"),
  ]);
  return c.json(found.results);
});

app.get("/notes/:name", async (c) => {
  const note = await c.env.NOTES.get(c.req.param("name"));
  return note === null ? c.notFound() : c.text(note);
});

app.put("/notes/:name", async (c) => {
  const name = c.req.param("name");
  const note = await c.req.text();
  const bytes = new TextEncoder().encode(note).length;
  if (bytes > MOST_BYTES) return c.text(`A note has at most ${MOST_BYTES} bytes.\n`, 413);
  // The text first: a name is in the list only when there is something to read.
  await c.env.NOTES.put(name, note);
  await c.env.DB.batch([
    c.env.DB.prepare(TABLE),
    c.env.DB.prepare("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)").bind(name, bytes, Date.now()),
  ]);
  return c.text("stored\n", 201);
});

app.delete("/notes/:name", async (c) => {
  const name = c.req.param("name");
  await c.env.DB.batch([c.env.DB.prepare(TABLE), c.env.DB.prepare("DELETE FROM notes WHERE name = ?").bind(name)]);
  await c.env.NOTES.delete(name);
  return c.text("forgotten\n");
});

app.notFound((c) => c.text("There is no such note.\n", 404));

export default app;
