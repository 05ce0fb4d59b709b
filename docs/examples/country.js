// By the visitor's country, where it is known: `request.cf` is there for trusted namespaces alone.
const SITES = { US: "https://us.example.com/", DE: "https://de.example.com/" };

export default {
  fetch(request) {
    const country = request.cf?.country;
    if (country === undefined) return new Response("nobody says where you are\n");
    return SITES[country] ? Response.redirect(SITES[country], 302) : new Response(`from ${country}\n`);
  },
};
