// Requests are put into a queue, and kept in batches: producer and consumer in one.
export default {
  async fetch(request, env) {
    if (request.method === "GET") return Response.json((await env.KEPT.list()).keys.map(({ name }) => name));
    await env.QUEUE.send({ url: request.url, method: request.method, body: await request.text() });
    return new Response("Sent message to the queue\n", { status: 202 });
  },
  async queue(batch, env) {
    for (const message of batch.messages) {
      await env.KEPT.put(`${batch.queue} ${message.body.body}`, JSON.stringify(message.body));
      message.ack();
    }
  },
};
