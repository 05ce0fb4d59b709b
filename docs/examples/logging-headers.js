// All headers of a request, in the log and in the answer.
export default {
  fetch(request) {
    console.log(new Map(request.headers));
    for (const [name, value] of request.headers) console.log(`${name} is ${value}`);
    console.warn("all told");
    return Response.json(Object.fromEntries(request.headers));
  },
};
