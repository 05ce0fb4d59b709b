// A page, from text.
const page = `<!doctype html>
<title>Hello</title>
<h1>Hello, world</h1>
`;

export default {
  fetch() {
    return new Response(page, { headers: { "content-type": "text/html;charset=UTF-8" } });
  },
};
