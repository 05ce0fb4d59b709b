import * as z from "zod";
import { examples } from "./examples.js";

const Player = z.object({ username: z.string(), xp: z.number() });

const Shape = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("circle"), radius: z.number() }),
  z.object({ kind: z.literal("square"), side: z.number() }),
]);

const Password = z
  .object({ password: z.string().min(8), confirm: z.string() })
  .refine((form) => form.password === form.confirm, { error: "they differ", path: ["confirm"] });

// Refers to itself through a getter.
const Category = z.object({
  name: z.string(),
  get subcategories() {
    return z.array(Category);
  },
});

const problems = (result) => result.error?.issues.map(({ code, path }) => [code, path.join(".")]);

export default examples([
  ["what fits is given back", () => Player.parse({ username: "billie", xp: 100 }), { username: "billie", xp: 100 }],
  ["unknown keys are left out", () => Player.parse({ username: "b", xp: 1, more: true }), { username: "b", xp: 1 }],
  [
    "each problem has its path",
    () => problems(Player.safeParse({ username: 42, xp: "100" })),
    [["invalid_type", "username"], ["invalid_type", "xp"]],
  ],
  [
    "problems are told in words",
    () => z.prettifyError(Player.safeParse({ username: "b", xp: "1" }).error),
    "✖ Invalid input: expected number, received string\n  → at xp",
  ],
  ["unions are told apart by a key", () => Shape.parse({ kind: "square", side: 2 }), { kind: "square", side: 2 }],
  ["no member of a union fits", () => Shape.safeParse({ kind: "line" }).success, false],
  ["a refinement names its field", () => problems(Password.safeParse({ password: "12345678", confirm: "x" })), [["custom", "confirm"]]],
  ["coercion", () => [z.coerce.number().parse("42"), z.coerce.boolean().parse(""), z.coerce.date().parse(0)], [42, false, "1970-01-01T00:00:00.000Z"]],
  ["transforms and pipes", () => z.string().transform((text) => text.length).pipe(z.number().min(3)).parse("four"), 4],
  ["defaults and catch", () => [z.string().default("tuna").parse(undefined), z.number().catch(42).parse("x")], ["tuna", 42]],
  ["optional, nullable, nullish", () => [z.string().optional().parse(undefined) ?? "none", z.string().nullable().parse(null)], ["none", null]],
  ["enums, tuples, records", () => [z.enum(["Salmon", "Tuna"]).parse("Tuna"), z.tuple([z.string(), z.number()]).parse(["a", 1]), z.record(z.string(), z.number()).parse({ a: 1 })], ["Tuna", ["a", 1], { a: 1 }]],
  [
    "formats",
    () =>
      [
        [z.email(), "colin@example.com", "colin"],
        [z.uuid(), "9491d710-3185-4e06-bea0-6a2f275345e0", "9491d710"],
        [z.url(), "https://example.com/a", "//example.com"],
        [z.ipv4(), "192.168.0.1", "192.168.0.256"],
        [z.iso.datetime(), "2020-01-01T06:15:00Z", "2020-13-01T06:15:00Z"],
        [z.base64(), "aGVsbG8=", "#"],
      ].map(([schema, right, wrong]) => [schema.safeParse(right).success, schema.safeParse(wrong).success]),
    Array(6).fill([true, false]),
  ],
  [
    "a schema that refers to itself",
    () => Category.parse({ name: "People", subcategories: [{ name: "Politicians", subcategories: [] }] }).subcategories[0].name,
    "Politicians",
  ],
  ["asynchronous refinements", () => z.string().refine(async (value) => value.length <= 3).safeParseAsync("long").then((result) => result.success), false],
  ["extend, pick, omit, partial", () => [Object.keys(Player.extend({ level: z.number() }).shape), Object.keys(Player.pick({ xp: true }).shape), Player.partial().parse({})], [["username", "xp", "level"], ["xp"], {}]],
  [
    "as JSON Schema",
    () => z.toJSONSchema(z.object({ name: z.string(), points: z.number() })).properties,
    { name: { type: "string" }, points: { type: "number" } },
  ],
]);
