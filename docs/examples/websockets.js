// There are no WebSockets here: asking for one is an error that says so, which a worker can answer.
export default {
  fetch(request) {
    try {
      const [client] = Object.values(new WebSocketPair());
      return new Response(null, { status: 101, webSocket: client });
    } catch (error) {
      return new Response(`${error.message}\n`, { status: 501 });
    }
  },
};
