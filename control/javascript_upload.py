"""The parts of an upload that are a worker in JavaScript, and such a worker as parts. Pure.

Source: what wrangler and Cloudflare's SDKs send. A module's name is its part's file name, or the part's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from control.envelope import ApiError, Code
from control.multipart import Part
from control.upload_metadata import UploadMetadata
from runtime.javascript.bundle import Bundle, Module, ModuleType, check_warm_up, make
from runtime.module_problems import InvalidModule

_ESM_TYPES: Final = ("application/javascript+module", "text/javascript+module")
_SCRIPT_TYPES: Final = ("application/javascript", "text/javascript", "application/x-javascript")
#: Sent by those who don't say what a file is.
_UNSAID: Final = ("", "application/octet-stream", "text/plain")
_TYPES: Final = {
    **dict.fromkeys(_ESM_TYPES, ModuleType.ESM),
    **dict.fromkeys(_SCRIPT_TYPES, ModuleType.COMMONJS),
    "application/json": ModuleType.JSON,
    "application/wasm": ModuleType.WASM,
    "application/source-map": ModuleType.SOURCE_MAP,
    "application/octet-stream": ModuleType.DATA,
    "": ModuleType.DATA,
}
#: As they are given back.
_SENT_AS: Final = {
    ModuleType.ESM: "application/javascript+module",
    ModuleType.COMMONJS: "application/javascript",
    ModuleType.SCRIPT: "application/javascript",
    ModuleType.JSON: "application/json",
    ModuleType.WASM: "application/wasm",
    ModuleType.SOURCE_MAP: "application/source-map",
    ModuleType.DATA: "application/octet-stream",
    ModuleType.TEXT: "text/plain",
}
_SCRIPT_SUFFIXES: Final = (".js", ".mjs")


def name_of(part: Part) -> str:
    """As other modules import it: `./util.js` and `util.js` are one."""
    name = part.file_name or part.name
    while name.startswith("./"):
        name = name[2:]
    return name


def read_bundle(parts: Sequence[Part], metadata: UploadMetadata) -> Bundle | None:
    """The worker of `parts` (all but `metadata`); None when it is no JavaScript: `metadata` names a wasm module, or
    no part of it is a script. Raises ApiError(400 and 413), naming the field.
    """
    entry = _entry(parts, metadata)
    if entry is None:
        if metadata.warm_up is not None:
            raise ApiError(
                400,
                Code.VALIDATION,
                "warm_up: only workers in JavaScript can be warmed up; leave it out",
                "warm_up",
            )
        return None
    main, field, kind = entry
    warm_up = _read_warm_up(metadata)
    modules = [Module(name_of(part), kind if part is main else _type_of(part), part.data) for part in parts]
    try:
        return make(name_of(main), modules, metadata.compatibility_flags, warm_up)
    except InvalidModule as error:
        status, code = (413, Code.TOO_LARGE) if error.code == "too_large" else (400, Code.VALIDATION)
        raise ApiError(
            status, code, f"{field}: {error.message}", field, meta={"problem": str(error.code)}
        ) from error


def _read_warm_up(metadata: UploadMetadata) -> str:
    if metadata.warm_up == "":
        raise ApiError(
            400, Code.VALIDATION, "warm_up: empty; a path that begins with `/` is right", "warm_up"
        )
    try:
        check_warm_up(metadata.warm_up or "")
    except InvalidModule as error:
        raise ApiError(400, Code.VALIDATION, f"warm_up: {error.message}", "warm_up") from error
    return metadata.warm_up or ""


def _entry(parts: Sequence[Part], metadata: UploadMetadata) -> tuple[Part, str, ModuleType] | None:
    """The part that the worker begins with, the field that named it, and what it is."""
    if metadata.wasm_main is not None:
        return None
    if metadata.body_part is not None:
        return _named(parts, metadata.body_part, "body_part"), "body_part", ModuleType.SCRIPT
    if metadata.main_module is not None:
        found = [part for part in parts if metadata.main_module in (part.file_name, part.name)]
        if len(found) == 1 and _is_script(found[0]):
            # Whoever names a main module means a module, also where the part is called a script.
            return found[0], "main_module", ModuleType.ESM
        return None
    scripts = [part for part in parts if part.content_type in (*_ESM_TYPES, *_SCRIPT_TYPES)]
    is_wasm = any(part.content_type == "application/wasm" for part in parts)
    if len(scripts) == 1 and _is_script(scripts[0]) and not is_wasm:
        is_module = scripts[0].content_type in _ESM_TYPES
        return scripts[0], "main_module", ModuleType.ESM if is_module else ModuleType.SCRIPT
    return None


def _named(parts: Sequence[Part], name: str, field: str) -> Part:
    found = [part for part in parts if part.file_name == name] or [
        part for part in parts if part.name == name
    ]
    if len(found) != 1:
        there = ", ".join(repr(name_of(part)[:80]) for part in parts[:8]) or "none besides metadata"
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{field}: {len(found)} parts are called {name[:80]!r}; there are {there}",
            field,
        )
    return found[0]


def _is_script(part: Part) -> bool:
    if part.data.startswith(b"\0asm"):
        return False
    by_name = part.content_type in _UNSAID and PurePosixPath(name_of(part)).suffix in _SCRIPT_SUFFIXES
    return part.content_type in (*_ESM_TYPES, *_SCRIPT_TYPES) or by_name


def _type_of(part: Part) -> ModuleType:
    known = _TYPES.get(part.content_type)
    if known is not None:
        return known
    if part.content_type.startswith("text/x-python"):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{name_of(part)[:80]!r} is Python, which does not run here; JavaScript and wasm modules do",
            "main_module",
        )
    if part.content_type.startswith("text/"):
        return ModuleType.TEXT
    raise ApiError(
        400,
        Code.VALIDATION,
        f"{name_of(part)[:80]!r} has the content type {part.content_type[:80]!r}, which no module has; right are"
        f" {', '.join(dict.fromkeys(_SENT_AS.values()))}",
        "main_module",
    )


def as_parts(bundle: Bundle) -> list[Part]:
    """As an upload could be made of it again, the one that the worker begins with first."""
    ordered = sorted(bundle.modules, key=lambda module: module.name != bundle.main)
    return [Part(module.name, module.name, _SENT_AS[module.type], module.data) for module in ordered]


def is_service_worker(bundle: Bundle) -> bool:
    """It has no modules, but for one script of the old syntax."""
    return any(module.type is ModuleType.SCRIPT for module in bundle.modules)
