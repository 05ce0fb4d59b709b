import * as v from "valibot";
import { examples, thrownBy } from "./examples.js";

const Login = v.object({ email: v.pipe(v.string(), v.email("no address")), password: v.pipe(v.string(), v.minLength(8)) });
const Size = v.variant("type", [v.object({ type: v.literal("px"), value: v.number() }), v.object({ type: v.literal("word"), value: v.picklist(["s", "m", "l"]) })]);

export default examples([
  ["what fits is given back", () => v.parse(Login, { email: "jane@example.com", password: "12345678" }), { email: "jane@example.com", password: "12345678" }],
  ["what does not fit", () => thrownBy(() => v.parse(Login, { email: "", password: "" })), "ValiError: no address"],
  ["problems by field", () => v.flatten(v.safeParse(Login, { email: "jane", password: "1" }).issues), { nested: { email: ["no address"], password: ["Invalid length: Expected >=8 but received 1"] } }],
  ["transformations", () => v.parse(v.pipe(v.string(), v.trim(), v.transform((text) => text.length), v.minValue(2)), "  abc "), 3],
  ["variants", () => [v.is(Size, { type: "px", value: 1 }), v.is(Size, { type: "word", value: "xl" })], [true, false]],
  ["optional with a default, and a fallback", () => v.parse(v.object({ a: v.optional(v.string(), "none"), b: v.fallback(v.number(), 0) }), { b: "x" }), { a: "none", b: 0 }],
  ["tuples, records, sets", () => [v.parse(v.tuple([v.string(), v.number()]), ["a", 1]), v.parse(v.record(v.string(), v.number()), { a: 1 }), v.parse(v.set(v.number()), new Set([1])).size], [["a", 1], { a: 1 }, 1]],
  ["one field that depends on another", () => v.safeParse(v.pipe(v.object({ a: v.string(), b: v.string() }), v.forward(v.partialCheck([["a"], ["b"]], (input) => input.a === input.b, "they differ"), ["b"])), { a: "1", b: "2" }).issues.map((issue) => [v.getDotPath(issue), issue.message]), [["b", "they differ"]]],
  ["asynchronous checks", async () => (await v.safeParseAsync(v.pipeAsync(v.string(), v.checkAsync(async (name) => name !== "taken", "taken")), "taken")).issues[0].message, "taken"],
  ["formats", () => [[v.uuid(), "9491d710-3185-4e06-bea0-6a2f275345e0"], [v.isoDate(), "2024-02-29"], [v.ip(), "::1"], [v.hexColor(), "#fff"], [v.emoji(), "🧑‍💻"], [v.url(), "https://example.com"]].map(([action, value]) => v.safeParse(v.pipe(v.string(), action), value).success), [true, true, true, true, true, true]],
]);
