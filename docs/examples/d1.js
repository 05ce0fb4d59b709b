// Customers of a company, from a SQL database. /setup makes the table.
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/setup") {
      const insert = env.DB.prepare("INSERT INTO customers VALUES (?1, ?2, ?3)");
      const done = await env.DB.batch([
        env.DB.prepare("DROP TABLE IF EXISTS customers"),
        env.DB.prepare("CREATE TABLE customers (id INTEGER PRIMARY KEY, company TEXT, contact TEXT)"),
        insert.bind(1, "Alfreds Futterkiste", "Maria Anders"),
        insert.bind(4, "Around the Horn", "Thomas Hardy"),
        insert.bind(11, "Bs Beverages", "Victoria Ashworth"),
        insert.bind(13, "Bs Beverages", "Random Name"),
      ]);
      return Response.json(done.map(({ success }) => success));
    }
    if (pathname === "/api/beverages") {
      const { results } = await env.DB.prepare("SELECT * FROM customers WHERE company = ? ORDER BY id").bind(searchParams.get("company") ?? "Bs Beverages").all();
      return Response.json(results);
    }
    return new Response("Call /api/beverages to see everyone who works at Bs Beverages\n");
  },
};
