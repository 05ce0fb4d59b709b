// A large list of the origin's, one value a line, is changed on its way: no more of it than a part is ever in memory. Each part
// is passed on as one: a stream costs by the part, not by the byte.
class Lines extends TransformStream {
  constructor(change) {
    let rest = "";
    const changed = (line) => (line ? `${JSON.stringify(change(JSON.parse(line)))}\n` : "");
    super({
      transform(chunk, controller) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop();
        controller.enqueue(lines.map(changed).join(""));
      },
      flush: (controller) => controller.enqueue(changed(rest)),
    });
  }
}

export default {
  async fetch(request, env) {
    const answer = await fetch(`${env.ORIGIN}/lines`);
    const changed = answer.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new Lines(({ id }) => ({ id, double: 2 * id })))
      .pipeThrough(new TextEncoderStream());
    return new Response(changed, { headers: { "content-type": "application/x-ndjson" } });
  },
};
