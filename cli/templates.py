"""What `tenantry init` begins a worker with: file name → text, by template. `NAME` becomes the worker's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_JS: Final = """\
// A request in, a response out. Each request has a heap of its own: nothing is kept between two of them but what you
// put into a binding (env.NOTES.put(…), when you deploy with --kv NOTES=…).
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/json") {
      return Response.json({ method: request.method, greeting: env.GREETING ?? "hello" });
    }
    return new Response(`hello from NAME: ${url.pathname}\\n`);
  },
};
"""

_TS: Final = """\
// A request in, a response out. Each request has a heap of its own: nothing is kept between two of them but what you
// put into a binding (env.NOTES.put(…), when you deploy with --kv NOTES=…).
interface Env {
  GREETING?: string;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/json") {
      return Response.json({ method: request.method, greeting: env.GREETING ?? "hello" });
    }
    return new Response(`hello from NAME: ${url.pathname}\\n`);
  },
};
"""

_HONO: Final = """\
// A request in, a response out: Hono finds the route. Each request has a heap of its own: nothing is kept between two
// of them but what you put into a binding (c.env.NOTES.put(…), when you deploy with --kv NOTES=…).
import { Hono } from "hono";

interface Env {
  GREETING?: string;
}

const app = new Hono<{ Bindings: Env }>();

app.get("/json", (c) => c.json({ method: c.req.method, greeting: c.env.GREETING ?? "hello" }));

app.get("*", (c) => c.text(`hello from NAME: ${c.req.path}\\n`));

export default app;
"""

#: esbuild makes JavaScript of it and looks at no type: that is what `npm run check` is for.
_PACKAGE: Final = """\
{
  "name": "NAME",
  "private": true,
  "type": "module",
  "scripts": {
    "dev": "tenantry dev",
    "check": "tsc"
  },
  "devDependencies": {
    "esbuild": "^0.28.0",
    "typescript": ">=5.9"
  }
}
"""

_HONO_PACKAGE: Final = _PACKAGE.replace(
    '  "devDependencies"', '  "dependencies": {\n    "hono": "^4.13.0"\n  },\n  "devDependencies"'
)

_TSCONFIG: Final = """\
{
  "compilerOptions": {
    "target": "es2022",
    "module": "es2022",
    "moduleResolution": "bundler",
    "lib": ["es2022", "webworker"],
    "strict": true,
    "noEmit": true
  },
  "include": ["src"]
}
"""

_README: Final = """\
# NAME

```sh
npm install
tenantry dev     # http://127.0.0.1:8787, deployed again at each change
npm run check    # the types: deploying looks at none
```

```sh
tenantry deploy . --name NAME --namespace production --hostname NAME.localhost
curl -H 'Host: NAME.localhost' http://127.0.0.1:8787/json
tenantry logs production NAME --follow
```

Bindings are named for `tenantry dev` and when it is deployed (`--kv NOTES=notes --d1 DB=notes --var GREETING=hello`),
and belong into `Env` in `src/index.ts`. What they hold here is kept in `.tenantry/`.
"""

GITIGNORE: Final = ".gitignore"

_IGNORED: Final = """\
.tenantry/
node_modules/
"""

_PROJECT: Final = {"tsconfig.json": _TSCONFIG, "README.md": _README, GITIGNORE: _IGNORED}

TEMPLATES: Final[Mapping[str, Mapping[str, str]]] = {
    "js": {"src/index.js": _JS, GITIGNORE: _IGNORED},
    "ts": {"src/index.ts": _TS, "package.json": _PACKAGE, **_PROJECT},
    "hono": {"src/index.ts": _HONO, "package.json": _HONO_PACKAGE, **_PROJECT},
}


def files_of(template: str, name: str) -> dict[str, str]:
    """Pure."""
    return {path: text.replace("NAME", name) for path, text in TEMPLATES[template].items()}
