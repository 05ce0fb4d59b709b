// Iterators as Web IDL has them: one prototype for a class, with `next` and a tag, below %IteratorPrototype%.
const root = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));

// For the class `name`: (list, each) => an iterator of what `each` makes of the items of `list()`, which is asked for anew
// at every step: what is added on the way is met.
export function iterating(name) {
  class Steps {
    #list;
    #each;
    #at = 0;

    constructor(list, each) {
      this.#list = list;
      this.#each = each;
    }

    next() {
      const list = this.#list();
      return this.#at < list.length ? { value: this.#each(list[this.#at++]), done: false } : { value: undefined, done: true };
    }
  }
  const { prototype } = Steps;
  delete prototype.constructor;
  Object.setPrototypeOf(prototype, root);
  Object.defineProperties(prototype, {
    next: { enumerable: true },
    [Symbol.toStringTag]: { value: `${name} Iterator`, configurable: true },
  });
  return (list, each) => new Steps(list, each);
}
