// Keeps notes in the KV namespace that is bound as NOTES: PUT /name stores the body, GET reads it, DELETE forgets it.
import { noteName, text } from "./replies.js";

let served = 0; // stays 1: each request has a heap of its own

export default {
  async fetch(request, env) {
    served += 1;
    const name = noteName(request);
    if (!name) return text(400, "Say which note: /NAME\n");
    switch (request.method) {
      case "GET": {
        const note = await env.NOTES.get(name);
        return note === null ? text(404, "There is no such note.\n") : text(200, note, served);
      }
      case "PUT":
        await env.NOTES.put(name, await request.text());
        console.log(`stored the note ${name}`);
        return text(201, "stored\n", served);
      case "DELETE":
        await env.NOTES.delete(name);
        return text(200, "forgotten\n", served);
      default:
        return text(405, "GET, PUT or DELETE\n");
    }
  },
};
