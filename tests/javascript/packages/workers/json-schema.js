import { Validator } from "@cfworker/json-schema";
import { examples } from "./examples.js";

const validator = new Validator({ type: "object", required: ["name", "email"], properties: { name: { type: "string" }, email: { type: "string", format: "email" }, number: { type: "number", minimum: 1 } }, additionalProperties: false }, "2020-12", false);

export default examples([
  ["what fits", () => validator.validate({ name: "hello", email: "a@example.com", number: 5 }).valid, true],
  ["each problem has its place", () => validator.validate({ name: 5, email: "none" }).errors.map(({ keyword, instanceLocation }) => `${keyword} ${instanceLocation}`), ["properties #", "type #/name", "properties #", "format #/email"]],
  ["what is not foreseen", () => validator.validate({ name: "a", email: "a@example.com", x: 1 }).valid, false],
  ["references", () => {
    const list = new Validator({ $id: "https://example.com/list", items: { $ref: "/item" } });
    list.addSchema({ $id: "https://example.com/item", type: "integer" });
    return [list.validate([1, 2]).valid, list.validate([1.5]).valid];
  }, [true, false]],
]);
