// Whether two values are alike all the way down, as `assert.deepStrictEqual` has it.
export function isDeepStrictEqual(one, other, seen = new Map()) {
  if (Object.is(one, other)) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  if (seen.get(one) === other) return true;
  seen.set(one, other);
  if (one instanceof Date) {
    if (!Object.is(one.getTime(), other.getTime())) return false;
  } else if (one instanceof RegExp) {
    if (String(one) !== String(other)) return false;
  } else if (one instanceof Error) {
    if (one.message !== other.message || one.name !== other.name) return false;
  } else if (one instanceof Map) {
    if (!sameEntries([...one], [...other], seen)) return false;
  } else if (one instanceof Set) {
    if (!sameEntries([...one], [...other], seen)) return false;
  } else if (one instanceof ArrayBuffer) {
    return isDeepStrictEqual(new Uint8Array(one), new Uint8Array(other), seen);
  } else if (typeof one.valueOf() !== 'object') {
    if (!Object.is(one.valueOf(), other.valueOf())) return false;
  }
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length
    && (!Array.isArray(one) || one.length === other.length)
    && keys.every((key) => Object.hasOwn(other, key) && isDeepStrictEqual(one[key], other[key], seen));
}

// In whatever order.
function sameEntries(ones, others, seen) {
  if (ones.length !== others.length) return false;
  const left = [...others];
  return ones.every((one) => {
    const at = left.findIndex((other) => isDeepStrictEqual(one, other, new Map(seen)));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}
