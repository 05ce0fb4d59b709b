import superjson from "superjson";
import { examples } from "./examples.js";

class Point {
  constructor(x, y) {
    this.x = x;
    this.y = y;
  }
  get length() {
    return Math.hypot(this.x, this.y);
  }
}
superjson.registerClass(Point);
superjson.registerCustom({ isApplicable: (value) => value instanceof URL, serialize: (url) => url.href, deserialize: (text) => new URL(text) }, "url");

const again = (value) => superjson.parse(superjson.stringify(value));

export default examples([
  ["a date, as it is stored", () => superjson.serialize({ date: new Date(0), when: undefined }), { json: { date: "1970-01-01T00:00:00.000Z", when: null }, meta: { values: { date: ["Date"], when: ["undefined"] }, v: 1 } }],
  ["dates, big integers, patterns", () => {
    const { date, big, pattern } = again({ date: new Date(5), big: 10n ** 20n, pattern: /a+/giu });
    return [date.getTime(), String(big), String(pattern)];
  }, [5, "100000000000000000000", "/a+/giu"]],
  ["maps and sets", () => {
    const { map, set } = again({ map: new Map([["a", new Set([1])]]), set: new Set([undefined, NaN, -0]) });
    return [map.get("a").has(1), set.has(undefined), set.has(NaN), set.size];
  }, [true, true, true, 3]],
  ["errors", () => {
    const error = again(new TypeError("no"));
    return [error instanceof Error, error.name, error.message];
  }, [true, "TypeError", "no"]],
  ["what is there twice stays one", () => {
    const shared = { a: 1 };
    const back = again({ first: shared, second: shared });
    return back.first === back.second;
  }, true],
  ["classes of one's own", () => again({ at: new Point(3, 4) }).at.length, 5],
  ["kinds of one's own", () => again(new URL("https://example.com/a?b")).search, "?b"],
  ["typed arrays", () => {
    const bytes = again(new Uint8Array([1, 255]));
    return [bytes instanceof Uint8Array, bytes[1]];
  }, [true, 255]],
]);
