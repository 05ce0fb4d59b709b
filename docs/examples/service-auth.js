// The worker that service-binding.js calls.
export default {
  fetch(request) {
    const user = request.headers.get("x-user");
    return user === null ? new Response("x-user is missing\n", { status: 403 }) : new Response(user);
  },
};
