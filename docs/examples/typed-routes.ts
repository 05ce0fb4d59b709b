// TypeScript, bundled by esbuild at the deployment: a table of routes, each a class.
interface Env {
  ORIGIN: string;
}

abstract class Route {
  constructor(protected readonly env: Env) {}
  abstract answer(request: Request): Promise<Response>;
}

class Origin extends Route {
  async answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const told: { path: string } = await (await fetch(`${this.env.ORIGIN}${pathname}`)).json();
    return new Response(`the origin was asked for ${told.path}\n`);
  }
}

class Health extends Route {
  answer(): Promise<Response> {
    return Promise.resolve(new Response("fine\n"));
  }
}

const routes = { "/health": Health, "/origin": Origin } as const satisfies Record<string, new (env: Env) => Route>;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const path = new URL(request.url).pathname as keyof typeof routes;
    const Found = routes[path];
    return Found === undefined ? new Response("not found\n", { status: 404 }) : new Found(env).answer(request);
  },
};
