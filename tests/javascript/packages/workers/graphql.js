import { GraphQLError, GraphQLInt, GraphQLList, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString, buildSchema, getIntrospectionQuery, graphql, parse, print, printSchema, validate } from "graphql";
import { examples } from "./examples.js";

const dice = buildSchema(`
  enum Side { LOW HIGH }
  input Throw { dice: Int!, sides: Int = 6 }
  type Query { hello: String, throws(throw: Throw!): [Int!]!, side(value: Int!): Side, fails: String }
  type Mutation { remember(text: String!): String! }
`);
const root = {
  hello: () => "Hello world!",
  throws: ({ throw: { dice: count, sides } }) => Array.from({ length: count }, (_, i) => (i % sides) + 1),
  side: ({ value }) => (value > 3 ? "HIGH" : "LOW"),
  fails: async () => { throw new GraphQLError("not today", { extensions: { code: "LATER" } }); },
  remember: ({ text }) => text.toUpperCase(),
};
const ask = (source, variableValues) => graphql({ schema: dice, source, rootValue: root, variableValues });
const plain = async (asked) => JSON.parse(JSON.stringify(await asked));

const User = new GraphQLObjectType({
  name: "User",
  fields: () => ({ id: { type: new GraphQLNonNull(GraphQLInt) }, name: { type: GraphQLString, resolve: async ({ id }) => `user ${id}` }, friends: { type: new GraphQLList(User), resolve: ({ id }) => (id < 3 ? [{ id: id + 1 }] : []) } }),
});
const users = new GraphQLSchema({ query: new GraphQLObjectType({ name: "Query", fields: { user: { type: User, args: { id: { type: GraphQLInt } }, resolve: (_, { id }) => ({ id }) } } }) });

export default examples([
  ["a first query", () => plain(ask("{ hello }")), { data: { hello: "Hello world!" } }],
  ["arguments, variables, defaults", () => plain(ask("query ($n: Int!) { throws(throw: { dice: $n }) side(value: 2) }", { n: 3 })), { data: { throws: [1, 2, 3], side: "LOW" } }],
  ["aliases, fragments, directives", () => plain(ask("query { a: hello ...more b: hello @skip(if: true) } fragment more on Query { c: hello }")), { data: { a: "Hello world!", c: "Hello world!" } }],
  ["a mutation", () => plain(ask('mutation { remember(text: "x") }')), { data: { remember: "X" } }],
  ["an error of a resolver has its path", () => plain(ask("{ hello fails }")), { data: { hello: "Hello world!", fails: null }, errors: [{ message: "not today", locations: [{ line: 1, column: 9 }], path: ["fails"], extensions: { code: "LATER" } }] }],
  ["a query that does not fit", () => validate(dice, parse("{ helo }")).map((error) => error.message), ['Cannot query field "helo" on type "Query". Did you mean "hello"?']],
  ["a query that does not parse", async () => (await plain(ask("{ hello"))).errors[0].message, "Syntax Error: Expected Name, found <EOF>."],
  ["types of code, resolved asynchronously", () => plain(graphql({ schema: users, source: "{ user(id: 1) { name friends { name friends { id friends { id } } } } }" })), { data: { user: { name: "user 1", friends: [{ name: "user 2", friends: [{ id: 3, friends: [] }] }] } } }],
  ["introspection", async () => (await ask(getIntrospectionQuery())).data.__schema.types.filter(({ name }) => !name.startsWith("__")).map(({ name }) => name).sort(), ["Boolean", "Int", "Mutation", "Query", "Side", "String", "Throw"]],
  ["printing", () => [print(parse("{a(b:1){c}}")), printSchema(users).split("\n")[0]], ["{\n  a(b: 1) {\n    c\n  }\n}", "type Query {"]],
]);
