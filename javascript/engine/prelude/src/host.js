// What the glue lends the prelude (glue/*.c). `host` is the argument of the function that the bundle is wrapped in.
/* global host */
export const {
  // operation(name, binding, ...arguments): a promise of an operation's value; docs/bindings.md has the operations.
  operation,
  // wait(name, binding, ...arguments): its value at once; the worker stands still until it is there.
  wait,
  // notice(name): a promise of an operation's value that may never come; leaving(isOver): the visitor has left, and what the
  // handler answers is nobody's any more; the event ends when all is over.
  notice, leaving,
  // last(): the newest operation's id. cancel(id): nothing comes of it any more, its promise stays pending.
  last, cancel,
  // alarm(ms): when the next timer is due. pending(): how many operations are not done.
  alarm, pending,
  // serving(): whether an event is. mayAsk(): throws while none is.
  serving, mayAsk,
  // now(): UNIX ms, which stand still between operations. fillRandom(view). random(): as Math.random.
  now, fillRandom, random,
  // log(level, text): 0 debug, 1 info, 2 notice, 3 warning, 4 error, 5 what nobody caught.
  log,
  // utf8Encode(text), utf8Decode(bytes, fatal), latin1Encode(text): null where it can't, latin1Decode(bytes).
  utf8Encode, utf8Decode, latin1Encode, latin1Decode,
  // headerName(text): in lower case, headerValue(text): trimmed; null for what is none. isAscii(text).
  headerName, headerValue, isAscii,
  // flow(): what the code that runs is part of (node:async_hooks), undefined mostly. enterFlow(value).
  flow, enterFlow,
  // URL, the class. urlParams(make): what makes a URL's searchParams. urlQuery(url), urlQuery(url, text): its `search`, and
  // changes it. formList(text): [[name, value]…], formText(list): application/x-www-form-urlencoded.
  URL, urlParams, urlQuery, formList, formText,
  // file(name): what require() of an uploaded file gives, or undefined; files(): [name, type] of each. While the top level runs.
  file, files,
  // clone(value): a deep copy through the engine's own serialization.
  clone,
} = host;

Math.random = random;
