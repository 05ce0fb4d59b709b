// A method of an entry point that another worker calls over a service binding.
import { requestFrom } from '../fetch/request.js';
import { Response } from '../fetch/response.js';
import { answerCall } from '../rpc/answer.js';
import { contextFor } from './context.js';
import { entryOf, instanceOf } from './registry.js';
import { respond } from './respond.js';

export async function serveCall(event, env) {
  const context = contextFor(event);
  const { name, call } = event.entry;
  const make = () => instanceOf(entryOf(name), env, context);
  const answer = await answerCall(make, call, await requestFrom(event).text());
  return respond(new Response(answer), context);
}
