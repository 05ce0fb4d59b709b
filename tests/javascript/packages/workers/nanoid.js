import { customAlphabet, customRandom, nanoid, urlAlphabet } from "nanoid";
import { nanoid as insecure } from "nanoid/non-secure";
import { examples } from "./examples.js";

export default examples([
  ["21 characters of the alphabet for URLs", () => /^[\w-]{21}$/.test(nanoid()), true],
  ["of a length that is asked for", () => [nanoid(10).length, insecure(5).length], [10, 5]],
  ["a thousand differ", () => new Set(Array.from({ length: 1000 }, () => nanoid())).size, 1000],
  ["another alphabet", () => /^[0-9a-f]{10}$/.test(customAlphabet("1234567890abcdef", 10)()), true],
  ["another source of randomness", () => customRandom("abcdef", 10, (size) => new Uint8Array(size).map((_, i) => i))(), "edcbafedcb"],
  ["its alphabet", () => [urlAlphabet.length, new Set(urlAlphabet).size], [64, 64]],
]);
