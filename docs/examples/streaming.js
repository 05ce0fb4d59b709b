// Parts are written while they are made; the visitor sees each at once.
const encoder = new TextEncoder();

async function write(writable, env) {
  const writer = writable.getWriter();
  for (const path of ["/a", "/b", "/c"]) {
    const answer = await fetch(env.ORIGIN + path);
    await writer.write(encoder.encode(`${answer.status} ${(await answer.json()).path}\n`));
  }
  await writer.close();
}

export default {
  fetch(request, env, ctx) {
    const { readable, writable } = new TransformStream();
    ctx.waitUntil(write(writable, env));
    return new Response(readable, { headers: { "content-type": "text/plain" } });
  },
};
