"""The modules of an uploaded JavaScript worker as the bytes that are stored, and back. Pure.

The same modules make the same bytes, in whatever order they were sent: the digest of the bytes is the version's.
A bundle is what the tenant sent, in the tenant's hands until the sandbox has read it: everything in it is hostile.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgpack

from runtime.module_problems import InvalidModule, ModuleProblem, quote

#: No wasm begins so, and no text. The last byte is the format's version.
MAGIC: Final = b"\0tenantry-js\1"

#: All modules together, source maps apart. Cloudflare takes 10 MB, compressed.
MOST_MODULE_BYTES: Final = 16 << 20
MOST_MAP_BYTES: Final = 16 << 20
MOST_MODULES: Final = 500
MOST_NAME_BYTES: Final = 512
MOST_FLAGS: Final = 64
MOST_FLAG_BYTES: Final = 128
MOST_WARM_UP_BYTES: Final = 2_048


class ModuleType(StrEnum):
    """What an import of the module gives; `script` is a worker in service-worker syntax, which nothing imports."""

    ESM = "esm"
    COMMONJS = "cjs"
    TEXT = "text"
    DATA = "data"
    JSON = "json"
    WASM = "wasm"
    SCRIPT = "script"
    #: Kept for whoever reads a stack trace; the worker never sees it.
    SOURCE_MAP = "map"


#: Printable ASCII but space, quotes, `#`, `<`, `>`, `\\`: what stands in a request line, without a fragment.
_WARM_UP: Final = re.compile(r"/[!$-;=?-\[\]-~]*")

#: What a worker can begin with.
_ENTRIES: Final = (ModuleType.ESM, ModuleType.COMMONJS, ModuleType.SCRIPT)


@dataclass(frozen=True, slots=True)
class Module:
    """`name` is what other modules import it by, relative to the one that does."""

    name: str
    type: ModuleType
    data: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """Checked by `make`: names are unique, and `main` is one of them that a worker can begin with.

    `flags` are compatibility flags, as they were sent. `warm_up` is the path of the request that is made when it is
    loaded, "" for none: of the bundle, since it is of what loading leaves behind.
    """

    main: str
    modules: tuple[Module, ...]
    flags: tuple[str, ...] = ()
    warm_up: str = ""

    @property
    def code(self) -> tuple[Module, ...]:
        """All that the engine reads."""
        return tuple(module for module in self.modules if module.type is not ModuleType.SOURCE_MAP)


def make(main: str, modules: Iterable[Module], flags: Iterable[str] = (), warm_up: str = "") -> Bundle:
    """Modules in the order of their names. Raises InvalidModule with what to change."""
    ordered = tuple(sorted(modules, key=lambda module: module.name))
    if len(ordered) > MOST_MODULES:
        raise _invalid(
            ModuleProblem.TOO_MANY,
            f"{len(ordered)} modules; at most {MOST_MODULES} are allowed: bundle them, with esbuild for instance",
        )
    for module in ordered:
        _check_name(module.name)
    for before, after in itertools.pairwise(ordered):
        if before.name == after.name:
            raise _invalid(ModuleProblem.MALFORMED, f"two modules are called {quote(after.name)}")
    entry = next((module for module in ordered if module.name == main), None)
    if entry is None:
        names = ", ".join(quote(module.name) for module in ordered[:8]) or "none"
        raise _invalid(ModuleProblem.MALFORMED, f"no module is called {quote(main)}; there are {names}")
    if entry.type not in _ENTRIES:
        raise _invalid(
            ModuleProblem.MALFORMED,
            f"{quote(main)} is a module of type {entry.type}; a worker begins with a script",
        )
    _check_size(ordered)
    kept = tuple(dict.fromkeys(flags))
    if len(kept) > MOST_FLAGS or any(len(flag.encode()) > MOST_FLAG_BYTES for flag in kept):
        raise _invalid(ModuleProblem.TOO_MANY, f"at most {MOST_FLAGS} compatibility flags are allowed")
    check_warm_up(warm_up)
    return Bundle(main, ordered, kept, warm_up)


def check_warm_up(path: str) -> None:
    """Raises InvalidModule. "" is none."""
    if path and (len(path) > MOST_WARM_UP_BYTES or _WARM_UP.fullmatch(path) is None):
        raise _invalid(
            ModuleProblem.MALFORMED,
            f"{quote(path)} is no path of a warm-up request; one that begins with `/`, of at most"
            f" {MOST_WARM_UP_BYTES:,} characters of a URL, is right",
        )


def encode(bundle: Bundle) -> bytes:
    """For `decode`, on this or a later release."""
    modules = [[module.name, module.type.value, module.data] for module in bundle.modules]
    # What has no warm-up is as it was before there were any.
    warm_up = [bundle.warm_up] if bundle.warm_up else []
    packed: bytes = msgpack.packb([bundle.main, modules, list(bundle.flags), *warm_up])
    return MAGIC + packed


def is_bundle(data: bytes) -> bool:
    return data.startswith(MAGIC)


def decode(data: bytes) -> Bundle:
    """Raises InvalidModule."""
    if not is_bundle(data):
        raise _invalid(ModuleProblem.MALFORMED, "this is no bundle of JavaScript modules")
    try:
        main, modules, flags, *rest = _unpack(data[len(MAGIC) :])
        (warm_up,) = rest or [""]
        found = [Module(_text(name), ModuleType(kind), _bytes(content)) for name, kind, content in modules]
        return make(_text(main), found, [_text(flag) for flag in flags], _text(warm_up))
    except InvalidModule:
        raise
    except Exception as error:
        # Whatever msgpack raises for bytes that are none, and what other shapes raise when they are taken apart.
        raise _invalid(ModuleProblem.MALFORMED, f"the bundle is damaged: {type(error).__name__}") from error


def _unpack(data: bytes) -> Any:
    """The values of `data`. Their number is bounded while they are made: an empty map of one byte would become 70."""
    left = MOST_MODULES + 3

    def counted(items: list[Any]) -> list[Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("too many lists")
        return items

    return msgpack.unpackb(
        data,
        list_hook=counted,
        object_pairs_hook=_no_map,
        max_array_len=MOST_MODULES,
        max_bin_len=len(data),
        max_map_len=0,
        max_ext_len=0,
    )


def _no_map(pairs: list[Any]) -> NoReturn:
    raise TypeError(pairs)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(value)
    return value


def _check_name(name: str) -> None:
    size = len(name.encode("utf-8", "replace"))
    if not name or size > MOST_NAME_BYTES or not name.isprintable():
        raise _invalid(
            ModuleProblem.MALFORMED,
            f"the module name {quote(name)} can't be used: 1 to {MOST_NAME_BYTES} printable characters are right",
        )


def _check_size(modules: tuple[Module, ...]) -> None:
    maps = sum(len(module.data) for module in modules if module.type is ModuleType.SOURCE_MAP)
    code = sum(len(module.data) for module in modules) - maps
    for what, size, most in (("modules", code, MOST_MODULE_BYTES), ("source maps", maps, MOST_MAP_BYTES)):
        if size > most:
            raise _invalid(
                ModuleProblem.TOO_LARGE,
                f"the {what} have {size:,} bytes together; at most {most:,} are allowed: minify them, leave out what is"
                " not used, or keep data in KV",
            )


def _invalid(problem: ModuleProblem, message: str) -> InvalidModule:
    return InvalidModule(problem, message)
