import { MAX, NIL, parse, stringify, v1, v3, v4, v5, v6, v7, validate, version, v1ToV6 } from "uuid";
import { examples, thrownBy } from "./examples.js";

const NAMESPACE = "1b671a64-40d5-491e-99b0-da01ff1f3341";

export default examples([
  ["each version's own kind", () => [v1(), v4(), v6(), v7()].map((id) => [validate(id), version(id)]), [[true, 1], [true, 4], [true, 6], [true, 7]]],
  ["a thousand differ", () => new Set(Array.from({ length: 1000 }, () => v4())).size, 1000],
  ["version 7 is in the order of time", () => {
    const made = Array.from({ length: 100 }, () => v7());
    return made.join() === [...made].sort().join();
  }, true],
  ["version 4 of given bytes", () => v4({ random: Uint8Array.of(0x10, 0x91, 0x56, 0xbe, 0xc4, 0xfb, 0xc1, 0xea, 0x71, 0xb4, 0xef, 0xe1, 0x67, 0x1c, 0x58, 0x36) }), "109156be-c4fb-41ea-b1b4-efe1671c5836"],
  ["version 5 of a name", () => [v5("Hello, World!", NAMESPACE), v5("hello.example.com", v5.DNS)], ["630eb68f-e0fa-5ecc-887a-7c7a62614681", "fdda765f-fc57-5604-a269-52a7df8164ec"]],
  ["version 3 of a name", () => v3("hello.example.com", v3.DNS), "9125a8dc-52ee-365b-a5aa-81b0b3681cf6"],
  ["version 1 of given options", () => v1({ node: Uint8Array.of(0x01, 0x23, 0x45, 0x67, 0x89, 0xab), clockseq: 0x1234, msecs: Date.UTC(2011, 10, 1), nsecs: 5678 }), "710b962e-041c-11e1-9234-0123456789ab"],
  ["from version 1 to 6", () => v1ToV6("92f62d9e-22c4-11ef-97e9-325096b39f47"), "1ef22c49-2f62-6d9e-97e9-325096b39f47"],
  ["bytes and text", () => [[...parse("6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b")].slice(0, 4), stringify(parse(NIL)), MAX], [[110, 192, 189, 127], NIL, "ffffffff-ffff-ffff-ffff-ffffffffffff"]],
  ["what is none", async () => [validate("not a UUID"), await thrownBy(() => parse("x"))], [false, "TypeError: Invalid UUID"]],
]);
