import _ from "lodash";
import { examples, thrownBy } from "./examples.js";

const users = [
  { user: "barney", age: 36, active: true },
  { user: "fred", age: 40, active: false },
  { user: "pebbles", age: 1, active: true },
];

export default examples([
  ["chunk", () => _.chunk(["a", "b", "c", "d"], 3), [["a", "b", "c"], ["d"]]],
  ["difference and xor", () => [_.difference([2, 1], [2, 3]), _.xor([2, 1], [2, 3])], [[1], [1, 3]]],
  ["zip and unzip", () => _.unzip(_.zip(["a", "b"], [1, 2], [true, false])), [["a", "b"], [1, 2], [true, false]]],
  ["defaults", () => _.defaults({ a: 1 }, { a: 3, b: 2 }), { a: 1, b: 2 }],
  ["groupBy and countBy", () => [_.groupBy([6.1, 4.2, 6.3], Math.floor), _.countBy(["one", "two", "three"], "length")], [{ 4: [4.2], 6: [6.1, 6.3] }, { 3: 2, 5: 1 }]],
  ["partition", () => _.partition(users, "active").map((some) => _.map(some, "user")), [["barney", "pebbles"], ["fred"]]],
  ["orderBy", () => _.map(_.orderBy(users, ["active", "age"], ["asc", "desc"]), "user"), ["fred", "barney", "pebbles"]],
  ["get, set, has, unset", () => {
    const object = { a: [{ b: { c: 3 } }] };
    _.set(object, "x[0].y.z", 5);
    return [_.get(object, "a[0].b.c"), _.get(object, "a.b.c", "default"), object.x[0].y.z, _.has(object, "a[0].b"), _.unset(object, "a[0].b")];
  }, [3, "default", 5, true, true]],
  ["merge", () => _.merge({ a: [{ b: 2 }, { d: 4 }] }, { a: [{ c: 3 }, { e: 5 }] }), { a: [{ b: 2, c: 3 }, { d: 4, e: 5 }] }],
  ["cloneDeep", () => {
    const original = { when: new Date(0), set: new Set([1]), map: new Map([["a", { b: 1 }]]), pattern: /x/gi, bytes: new Uint8Array([1, 2]) };
    const copy = _.cloneDeep(original);
    return [_.isEqual(copy, original), copy.map.get("a") === original.map.get("a"), copy.pattern.flags, copy.bytes[1]];
  }, [true, false, "gi", 2]],
  ["isEqual of what contains itself", () => {
    const ring = () => { const made = { a: 1 }; made.self = made; return made; };
    return _.isEqual(ring(), ring());
  }, true],
  ["names in every case", () => [_.camelCase("--foo-bar--"), _.kebabCase("fooBar"), _.snakeCase("--FOO-BAR--"), _.startCase("fooBar"), _.deburr("déjà vu"), _.words("fred, barney, & pebbles")], ["fooBar", "foo-bar", "foo_bar", "Foo Bar", "deja vu", ["fred", "barney", "pebbles"]]],
  ["escape, pad, truncate", () => [_.escape("fred, barney, & pebbles"), _.pad("abc", 8, "_-"), _.truncate("hi-diddly-ho there, neighborino", { length: 24 }), _.size("💙🇩🇪")], ["fred, barney, &amp; pebbles", "_-abc_-_", "hi-diddly-ho there, n...", 2]],
  ["chains are lazy", () => _.chain(users).sortBy("age").map(({ user, age }) => `${user} is ${age}`).head().value(), "pebbles is 1"],
  ["memoize, once, curry, flow", () => {
    let calls = 0;
    const square = _.memoize((n) => (calls++, n * n));
    const sum = _.curry((a, b, c) => [a, b, c]);
    return [square(4), square(4), calls, sum(1)(_, 3)(2), _.flow([_.add, square])(1, 2)];
  }, [16, 16, 1, [1, 2, 3], 9]],
  ["debounce runs once, after the last call", async () => {
    const seen = [];
    const later = _.debounce((value) => seen.push(value), 10);
    later(1), later(2), later(3);
    await new Promise((done) => setTimeout(done, 40));
    return seen;
  }, [3]],
  ["throttle runs at the first call and at the end", async () => {
    const seen = [];
    const limited = _.throttle((value) => seen.push(value), 10);
    limited(1), limited(2), limited(3);
    await new Promise((done) => setTimeout(done, 40));
    return seen;
  }, [1, 3]],
  // It makes its function from text, which no worker may.
  ["template is refused, with the reason", () => thrownBy(() => _.template("hello <%= user %>!")({ user: "fred" })), "EvalError: Code generation from strings disallowed for this context"],
]);
