// A value as JSON.
export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    return Response.json({ path: pathname, query: Object.fromEntries(searchParams) });
  },
};
