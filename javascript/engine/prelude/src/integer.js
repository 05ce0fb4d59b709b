// What WebIDL makes of a number that a caller gave: text is read, a fraction cut off. Whether it is in range says the host.
export function integer(name, value) {
  if (value === undefined || value === null) return undefined;
  const number = +value; // unlike Number() it throws at a BigInt
  if (!Number.isFinite(number)) throw new TypeError(`${name}: ${number} is not an integer.`);
  return Math.trunc(number);
}
