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

_PACKAGE: Final = """\
{
  "name": "NAME",
  "private": true,
  "type": "module",
  "devDependencies": {
    "esbuild": "^0.28.0"
  }
}
"""

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

TEMPLATES: Final[Mapping[str, Mapping[str, str]]] = {
    "js": {"src/index.js": _JS},
    "ts": {"src/index.ts": _TS, "package.json": _PACKAGE, "tsconfig.json": _TSCONFIG},
}


def files_of(template: str, name: str) -> dict[str, str]:
    """Pure."""
    return {path: text.replace("NAME", name) for path, text in TEMPLATES[template].items()}
