// The request as it goes on: another method, body, headers and address, made from the one that came.
export default {
  fetch(request, env) {
    const init = {
      body: JSON.stringify({ bar: "foo" }),
      headers: { "content-type": "application/json", "user-agent": "my worker" },
      method: "POST",
      redirect: "manual",
    };
    const changed = new Request(new Request(`${env.ORIGIN}/echo`, request), init);
    changed.headers.set("x-example", "bar");
    return fetch(changed);
  },
};
