import Handlebars from "handlebars";
import Runtime from "handlebars/runtime.js";
import specification from "../generated/template.js";
import { examples, thrownBy } from "./examples.js";

const template = Runtime.template(specification);
const context = { title: "People", people: [{ firstName: "Yehuda", lastName: "Katz" }, { firstName: "<b>", lastName: "Law" }] };
const helpers = { loud: (text) => text.toUpperCase() };

export default examples([
  ["a template that was compiled before works", () => template(context, { helpers }), "<h1>PEOPLE</h1>0: Yehuda Katz 1: &lt;b&gt; Law "],
  ["an empty list", () => template({ title: "x", people: [] }, { helpers }), "<h1>X</h1>nobody"],
  ["parsing", () => Handlebars.parse("{{a}} b").body.map(({ type }) => type), ["MustacheStatement", "ContentStatement"]],
  // It makes its function from text, which no worker may.
  ["compile is refused, with the reason", () => thrownBy(() => Handlebars.compile("{{a}}")({ a: 1 })), "EvalError: Code generation from strings disallowed for this context"],
]);
