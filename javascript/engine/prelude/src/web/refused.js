// What Cloudflare has and this platform has not, by the names that code looks for: it says so where it is used.
import { define } from '../define.js';

function refused(name, why) {
  const constructor = { [name]: class { constructor() { throw new Error(`${name} is not supported here: ${why}`); } } }[name];
  Object.defineProperty(constructor, 'name', { value: name, configurable: true });
  return constructor;
}

const noSockets = 'workers are not reached, and reach nothing, through WebSockets.';

define({
  WebSocketPair: refused('WebSocketPair', noSockets),
  WebSocket: refused('WebSocket', noSockets),
  HTMLRewriter: refused('HTMLRewriter', 'rewrite the text, or bundle a parser from npm.'),
  EventSource: refused('EventSource', 'read the body of a fetch as a stream.'),
});
