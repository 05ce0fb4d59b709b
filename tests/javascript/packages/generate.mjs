// What their packages' documentation says to make at the build: a validator of ajv's and a template of Handlebars'.
import { mkdirSync, writeFileSync } from "node:fs";
import Ajv from "ajv";
import standalone from "ajv/dist/standalone/index.js";
import Handlebars from "handlebars";

const schema = {
  type: "object",
  properties: { foo: { type: "integer" }, bar: { type: "string" } },
  required: ["foo"],
  additionalProperties: false,
};
const template =
  "<h1>{{loud title}}</h1>{{#each people}}{{@index}}: {{firstName}} {{lastName}} {{else}}nobody{{/each}}";

const ajv = new Ajv({ code: { source: true, esm: true } });
mkdirSync("generated", { recursive: true });
writeFileSync("generated/validate.js", standalone.default(ajv, ajv.compile(schema)));
writeFileSync("generated/template.js", `export default ${Handlebars.precompile(template)};\n`);
