import { and, asc, count, desc, eq, gt, inArray, like, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { examples, thrownBy } from "./examples.js";

const users = sqliteTable("users", { id: integer().primaryKey({ autoIncrement: true }), name: text().notNull(), age: integer(), email: text().notNull().unique(), tags: text({ mode: "json" }), made: integer({ mode: "timestamp" }) });
const posts = sqliteTable("posts", { id: integer().primaryKey(), title: text().notNull(), author: integer().notNull().references(() => users.id) });
const schema = { users, posts, ofUsers: relations(users, ({ many }) => ({ posts: many(posts) })), ofPosts: relations(posts, ({ one }) => ({ author: one(users, { fields: [posts.author], references: [users.id] }) })) };

const db = (env) => drizzle(env.DB, { schema });
const people = [
  { name: "John", age: 30, email: "john@example.com", tags: ["a", "b"], made: new Date(86_400_000) },
  { name: "Ann", age: 41, email: "ann@example.com" },
];

export default examples([
  ["tables are made", async (env) => {
    await env.DB.batch([
      env.DB.prepare("CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, age INTEGER, email TEXT NOT NULL UNIQUE, tags TEXT, made INTEGER)"),
      env.DB.prepare("CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author INTEGER NOT NULL REFERENCES users(id))"),
    ]);
    return "made";
  }, "made"],
  ["insert, returning", (env) => db(env).insert(users).values(people).returning({ id: users.id, tags: users.tags, made: users.made }), [{ id: 1, tags: ["a", "b"], made: "1970-01-02T00:00:00.000Z" }, { id: 2, tags: null, made: null }]],
  ["select with conditions", (env) => db(env).select({ name: users.name }).from(users).where(and(gt(users.age, 20), like(users.email, "%example.com"), inArray(users.id, [1, 2]))).orderBy(desc(users.age)), [{ name: "Ann" }, { name: "John" }]],
  ["update and delete", async (env) => {
    await db(env).update(users).set({ age: sql`${users.age} + 1` }).where(eq(users.name, "John"));
    const gone = await db(env).delete(users).where(eq(users.name, "Nobody"));
    return [(await db(env).select().from(users).where(eq(users.id, 1)).get()).age, gone.meta.changes];
  }, [31, 0]],
  ["on conflict", (env) => db(env).insert(users).values({ name: "J.", email: "john@example.com" }).onConflictDoUpdate({ target: users.email, set: { name: "Johnny" } }).returning({ id: users.id, name: users.name }), [{ id: 1, name: "Johnny" }]],
  ["a batch", async (env) => {
    const [made, all] = await db(env).batch([db(env).insert(posts).values([{ id: 1, title: "first", author: 1 }, { id: 2, title: "second", author: 1 }]).returning(), db(env).select({ n: count() }).from(posts)]);
    return [made.length, all];
  }, [2, [{ n: 2 }]]],
  ["a join", (env) => db(env).select({ title: posts.title, name: users.name }).from(posts).innerJoin(users, eq(posts.author, users.id)).orderBy(asc(posts.id)).limit(1), [{ title: "first", name: "Johnny" }]],
  ["relational queries", (env) => db(env).query.users.findFirst({ columns: { name: true }, with: { posts: { columns: { title: true }, orderBy: (post) => [desc(post.id)] } } }), { name: "Johnny", posts: [{ title: "second" }, { title: "first" }] }],
  ["raw SQL, with values apart", async (env) => (await db(env).all(sql`select name from users where email = ${"' or 1=1 --"}`)).length, 0],
  ["a prepared query with a placeholder", (env) => db(env).select({ name: users.name }).from(users).where(eq(users.id, sql.placeholder("id"))).prepare().all({ id: 2 }), [{ name: "Ann" }]],
  ["a constraint that does not hold", async (env) => /UNIQUE constraint failed/.test(await thrownBy(async () => { try { await db(env).insert(users).values({ name: "x", email: "ann@example.com" }); } catch (error) { throw error.cause ?? error; } })), true],
]);
