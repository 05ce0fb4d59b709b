// Answers every request with one line: the smallest worker in JavaScript.
export default {
  fetch() {
    return new Response("Hello from JavaScript!\n");
  },
};
