// What was sent, by its content type: JSON, text, a form, or bytes.
async function read(request) {
  const type = request.headers.get("content-type") ?? "";
  if (type.includes("application/json")) return { json: await request.json() };
  if (type.includes("application/text") || type.includes("text/")) return { text: await request.text() };
  if (type.includes("form")) {
    const entries = [...(await request.formData())];
    return { form: Object.fromEntries(await Promise.all(entries.map(async ([name, value]) => [name, typeof value === "string" ? value : `${value.name}: ${await value.text()}`]))) };
  }
  return { bytes: (await request.arrayBuffer()).byteLength };
}

export default {
  async fetch(request) {
    if (request.method !== "POST") return new Response("POST something\n", { status: 405 });
    return Response.json(await read(request));
  },
};
