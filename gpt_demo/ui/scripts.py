"""The page's scripts: ES modules, served as they lie in assets/ under an address that changes with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpt_demo.paths import ASSETS

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


# In another site's frame, or where cookies are blocked, a browser may refuse its storage: Gradio would then show
# "Loading..." for ever. Memory stands in for it while the page is open. This must run before Gradio's scripts.
STORAGE = """<script>
for (const name of ["localStorage", "sessionStorage"])
  try {
    window[name].length;
  } catch {
    const kept = new Map();
    const value = {
      getItem: (key) => kept.get(String(key)) ?? null,
      setItem: (key, item) => void kept.set(String(key), String(item)),
      removeItem: (key) => void kept.delete(String(key)),
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
      get length() { return kept.size; },
    };
    Object.defineProperty(window, name, { value, configurable: true });
  }
</script>"""


@cache
def scripts() -> dict[str, bytes]:
    """Every script by its path in assets/: "page/dom.js"."""
    return {path.relative_to(ASSETS).as_posix(): path.read_bytes() for path in sorted(ASSETS.rglob("*.js"))}


@cache
def folder() -> str:
    """Where the scripts are served, relative to the page. Another content is another folder, so a browser may keep
    what it has for good; the scripts import each other by relative paths and know nothing of it."""
    digest = hashlib.sha256(repr(scripts()).encode()).hexdigest()
    return f"scripts/{digest[:16]}"


def route() -> Route:
    """Answers for the scripts of this version, and for nothing else."""

    async def answer(request: Request) -> Response:
        script = scripts().get(request.path_params["name"])
        if script is None:
            return Response("Script not found.", 404)
        return Response(script, media_type="text/javascript", headers=FOREVER)

    return Route(f"/{folder()}/{{name:path}}", answer)


# Everything is asked for relative to the page's folder. Behind a proxy a visitor may have come to it without the final
# slash: then it would all be asked for one folder above.
SLASH = """<script>
if (!location.pathname.endsWith("/"))
  location.replace(location.pathname + "/" + location.search + location.hash);
</script>"""


def tags() -> str:
    """For the page's head: the entry, and all that it imports, so that the browser asks for everything at once."""
    hints = (f'<link rel="modulepreload" href="{folder()}/{name}">' for name in scripts() if name != "main.js")
    return "\n".join([SLASH, STORAGE, *hints, f'<script type="module" src="{folder()}/main.js"></script>'])


def module(name: str = "main.js") -> str:
    """JavaScript for the promise of a module. Components take what they need from the entry: its exports are for them.

    From the page's own address, for what an import in a component's string is relative to differs between browsers.
    """
    return f'import(new URL("{folder()}/{name}", document.baseURI).href)'


def launch_options() -> dict[str, Any]:
    """What `launch` needs for them."""
    return {"head": tags(), "app_kwargs": {"routes": [route()]}}
