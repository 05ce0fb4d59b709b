// Values are written, read, listed and deleted: `/KEY`.
export default {
  async fetch(request, env) {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method === "PUT") {
      await env.NOTES.put(key, request.body, { metadata: { by: request.headers.get("user-agent") }, expirationTtl: 3600 });
      return new Response("stored\n", { status: 201 });
    }
    if (request.method === "DELETE") {
      await env.NOTES.delete(key);
      return new Response(null, { status: 204 });
    }
    if (!key) return Response.json((await env.NOTES.list()).keys.map(({ name, metadata }) => [name, metadata]));
    const { value, metadata } = await env.NOTES.getWithMetadata(key, "stream");
    return value === null ? new Response("no such note\n", { status: 404 }) : new Response(value, { headers: { "x-by": metadata.by } });
  },
};
