import Ajv from "ajv";
import generated from "../generated/validate.js";
import { examples, thrownBy } from "./examples.js";

export default examples([
  // It compiles a schema to a function's text, which no worker may evaluate.
  ["compile is refused, with the reason", () => thrownBy(() => new Ajv({ logger: false }).compile({ type: "object" })), "EvalError: Code generation from strings disallowed for this context"],
  ["problems in words", () => new Ajv({ logger: false, validateSchema: false }).errorsText([{ instancePath: "/foo", message: "must be integer" }]), "data/foo must be integer"],
  ["a validator that was generated before works", () => [generated({ foo: 1, bar: "abc" }), generated({ foo: "x" }), generated.errors.map(({ instancePath, message }) => `${instancePath} ${message}`)], [true, false, ["/foo must be integer"]]],
]);
