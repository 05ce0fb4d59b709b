"""Uploaded bytes → what they are, or why they are no worker. Pure; nothing is compiled.

The rules, in the order in which they are told: size; a core module, not text and not a component; well-formed
sections within our bounds; imports that exist, with their types; the exports of docs/guest-abi.md; memory
and tables that fit a sandbox. A bundle of JavaScript is told by its first bytes (runtime.javascript.bundle): what it
exports is known when the engine has run it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from runtime.javascript import bundle
from runtime.module_problems import InvalidModule, ModuleProblem, quote
from runtime.signatures import (
    ABI_MODULE,
    ABI_SIGNATURES,
    ALLOC_SIGNATURE,
    HANDLER_SIGNATURE,
    HANDLERS,
    IMPORT_SIGNATURES,
    INITIALIZE_SIGNATURE,
    WASI_MODULE,
    WASI_SIGNATURES,
    FunctionType,
)
from runtime.wasm_sections import MAGIC, PAGE_BYTES, Sections, read_sections

__all__ = [
    "ABI_SIGNATURES",
    "MAX_MEMORY_BYTES",
    "MAX_MODULE_BYTES",
    "WASI_SIGNATURES",
    "Artifact",
    "Export",
    "FunctionType",
    "Import",
    "InvalidModule",
    "ModuleProblem",
    "read_artifact",
]

MIB: Final = 1 << 20
#: A CPython or a StarlingMonkey with an application is 13 to 30 MB; a compile takes seconds per ten.
MAX_MODULE_BYTES: Final = 64 * MIB
#: What a pooled sandbox has: a module that asks for more at once could never start.
MAX_MEMORY_BYTES: Final = 128 * MIB
#: The pool keeps one table a sandbox, of this many elements. Compilers make one (indirect calls).
MAX_TABLES: Final = 1
MAX_TABLE_ELEMENTS: Final = 100_000

_CORE_VERSION: Final = b"\1\0\0\0"
#: The upper half of a component's version field is the layer: 1 (component-model Binary.md).
_COMPONENT_LAYER: Final = b"\1\0"
#: The text format: an optional BOM, white space and comments, then one parenthesis and a word.
_TEXT: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|;;[^\n]*\n)*\(\s*(module|component)\b")
_TEXT_WINDOW: Final = 4096


class Import(NamedTuple):
    module: str
    name: str
    #: Always "function" in an accepted module.
    kind: str
    signature: FunctionType


class Export(NamedTuple):
    #: "function", "table", "memory" or "global".
    kind: str
    #: None for anything but a function.
    signature: FunctionType | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """`kind` "module": a core module that speaks the module ABI. "javascript": a bundle, of which nothing but the
    digest is known before it has run.
    """

    kind: str
    #: sha256 of the bytes, hex: the key in the object store and the AOT cache.
    digest: str
    imports: tuple[Import, ...]
    exports: Mapping[str, Export]
    #: Which of "fetch", "queue", "scheduled" a module answers; at least one.
    handlers: frozenset[str]
    memory_min_pages: int
    #: None: as far as its limits let it grow.
    memory_max_pages: int | None
    uses_wasi: bool
    #: A start section runs code in every instantiation: tenant code, so it counts as the event's.
    has_start: bool


def read_artifact(data: bytes) -> Artifact:
    """What `data` is. Linear in its size; raises InvalidModule and nothing else."""
    if bundle.is_bundle(data):
        bundle.decode(data)
        return _javascript(data)
    _check_header(data)
    sections = read_sections(data, max_tables=MAX_TABLES)
    imports = tuple(_checked_imports(sections))
    exports = {
        name: Export(kind, sections.function_type(index) if kind == "function" else None)
        for name, (kind, index) in sections.exports.items()
    }
    handlers = _check_exports(exports)
    _check_start(sections)
    memory = sections.memories[0]  # `memory` is exported, and nothing is imported but functions
    _check_sizes(sections)
    return Artifact(
        kind="module",
        digest=hashlib.sha256(data).hexdigest(),
        imports=imports,
        exports=MappingProxyType(exports),
        handlers=handlers,
        memory_min_pages=memory.minimum,
        memory_max_pages=memory.maximum,
        uses_wasi=any(entry.module == WASI_MODULE for entry in imports),
        has_start=sections.start is not None,
    )


def _javascript(data: bytes) -> Artifact:
    return Artifact(
        kind="javascript",
        digest=hashlib.sha256(data).hexdigest(),
        imports=(),
        exports=MappingProxyType({}),
        handlers=frozenset(),
        memory_min_pages=0,
        memory_max_pages=None,
        uses_wasi=False,
        has_start=False,
    )


def _check_header(data: bytes) -> None:
    if len(data) > MAX_MODULE_BYTES:
        raise InvalidModule(
            ModuleProblem.TOO_LARGE,
            f"the module has {len(data):,} bytes; at most {MAX_MODULE_BYTES:,} are allowed:"
            " strip debug information, optimise for size",
        )
    if not data:
        raise InvalidModule(ModuleProblem.NOT_WASM, "the module is empty; upload a compiled .wasm file")
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            raise InvalidModule(ModuleProblem.TRUNCATED, "the module is cut off after its first bytes")
        text = _TEXT.match(data[:_TEXT_WINDOW])
        if text:
            raise InvalidModule(
                ModuleProblem.WAT_TEXT,
                f"this is WebAssembly text (it begins with '({text[1].decode()}'), not a binary;"
                " compile it first, for instance with `wat2wasm` or `wasm-tools parse`",
            )
        raise InvalidModule(
            ModuleProblem.NOT_WASM,
            f"this is no WebAssembly: it begins with {data[:4].hex(' ')} instead of {MAGIC.hex(' ')};"
            " upload a compiled .wasm file",
        )
    version = data[4:8]
    if len(version) < 4:
        raise InvalidModule(ModuleProblem.TRUNCATED, "the module is cut off after its first bytes")
    if version == _CORE_VERSION:
        return
    if version[2:] == _COMPONENT_LAYER:
        raise InvalidModule(
            ModuleProblem.COMPONENT,
            "this is a WebAssembly component; components are not supported yet: build a core module that"
            f" imports {ABI_MODULE!r} and exports memory, alloc and a handler",
        )
    raise InvalidModule(
        ModuleProblem.UNSUPPORTED_VERSION,
        f"the module has binary version {version.hex(' ')}; only {_CORE_VERSION.hex(' ')} is known",
    )


def _checked_imports(sections: Sections) -> list[Import]:
    found = []
    for entry in sections.imports:
        functions = IMPORT_SIGNATURES.get(entry.module)
        if functions is None:
            raise InvalidModule(
                ModuleProblem.UNKNOWN_IMPORT,
                f"import {quote(entry.module)} {quote(entry.name)}: there is no such module;"
                f" there are {' and '.join(map(repr, IMPORT_SIGNATURES))}",
            )
        wanted = functions.get(entry.name)
        if wanted is None:
            raise InvalidModule(
                ModuleProblem.UNKNOWN_IMPORT,
                f"import {quote(entry.module)} {quote(entry.name)}: there is no such function;"
                f" {entry.module!r} has {', '.join(functions)}",
            )
        signature = sections.types[entry.type_index]
        if signature != wanted:
            raise InvalidModule(
                ModuleProblem.WRONG_IMPORT_TYPE,
                f"import {entry.module!r} {entry.name!r} has type {signature}; it is {wanted}",
            )
        found.append(Import(entry.module, entry.name, "function", signature))
    return found


def _check_exports(exports: Mapping[str, Export]) -> frozenset[str]:
    """The handlers, when everything that the host uses is there with its type."""
    handlers = frozenset(name for name in HANDLERS if name in exports)
    if not handlers:
        if "_start" in exports:
            raise InvalidModule(
                ModuleProblem.COMMAND,
                "the module is a command (it exports _start and no handler): build a reactor or library that"
                f" exports {_listed(HANDLERS)}, for instance with --no-entry, -mexec-model=reactor"
                " or -buildmode=c-shared",
            )
        raise InvalidModule(
            ModuleProblem.MISSING_EXPORT,
            f"the module exports no handler: export at least one of {_listed(HANDLERS)},"
            f" each of type {HANDLER_SIGNATURE}",
        )
    memory = exports.get("memory")
    if memory is None:
        raise InvalidModule(
            ModuleProblem.MISSING_EXPORT, "the module does not export its memory: export it as 'memory'"
        )
    if memory.kind != "memory":
        raise InvalidModule(
            ModuleProblem.WRONG_EXPORT_TYPE, f"export 'memory' is a {memory.kind}; it has to be the memory"
        )
    if "alloc" not in exports:
        raise InvalidModule(
            ModuleProblem.MISSING_EXPORT,
            f"the module does not export 'alloc': export a function 'alloc' of type {ALLOC_SIGNATURE}"
            " that answers where there is room for so many bytes",
        )
    wanted = {"alloc": ALLOC_SIGNATURE, "_initialize": INITIALIZE_SIGNATURE}
    wanted |= dict.fromkeys(HANDLERS, HANDLER_SIGNATURE)
    for name, signature in wanted.items():
        export = exports.get(name)
        if export is not None and export.signature != signature:
            what = f"has type {export.signature}" if export.signature else f"is a {export.kind}"
            raise InvalidModule(
                ModuleProblem.WRONG_EXPORT_TYPE, f"export {name!r} {what}; it is a function {signature}"
            )
    return handlers


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _check_start(sections: Sections) -> None:
    if sections.start is None:
        return
    signature = sections.function_type(sections.start)
    if signature != INITIALIZE_SIGNATURE:
        what = f"has type {signature}" if signature else "does not exist"
        raise InvalidModule(
            ModuleProblem.MALFORMED, f"the start function {what}; it is a function {INITIALIZE_SIGNATURE}"
        )


def _check_sizes(sections: Sections) -> None:
    for memory in sections.memories:
        if memory.minimum * PAGE_BYTES > MAX_MEMORY_BYTES:
            raise InvalidModule(
                ModuleProblem.TOO_MUCH_MEMORY,
                f"the module's memory starts with {memory.minimum * PAGE_BYTES:,} bytes; at most"
                f" {MAX_MEMORY_BYTES:,} ({MAX_MEMORY_BYTES // MIB} MiB)",
            )
    for table in sections.tables:
        if table.minimum > MAX_TABLE_ELEMENTS:
            raise InvalidModule(
                ModuleProblem.TOO_MANY,
                f"a table of the module starts with {table.minimum:,} elements;"
                f" at most {MAX_TABLE_ELEMENTS:,}",
            )
