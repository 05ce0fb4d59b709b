"""Which parts of an upload are the worker: a wasm module, or modules of JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control.call import Call
from control.envelope import ApiError, Code
from control.javascript_upload import read_bundle
from control.multipart import Part, is_multipart, read_multipart
from control.upload_metadata import UploadMetadata, parse_metadata
from runtime.javascript.bundle import encode

MODULE_BYTES: Final = 64 << 20
METADATA_BYTES: Final = 1 << 20
#: Of the whole body: a module, its metadata, and what a client adds (source maps, a shim).
UPLOAD_BYTES: Final = MODULE_BYTES + (4 << 20)
_WASM: Final = "application/wasm"


@dataclass(frozen=True, slots=True)
class Upload:
    """A PUT of a script, read whole."""

    metadata: UploadMetadata
    #: A wasm module, or a bundle (runtime.javascript.bundle).
    module: bytes


async def read_upload(call: Call) -> Upload:
    """Raises ApiError: 400 and 413, naming the part or the field."""
    if not is_multipart(call):
        raise ApiError(
            400,
            Code.BODY,
            "body: send multipart/form-data with a part `metadata` (JSON) and the worker's modules, each a part;"
            " metadata alone has no worker in it",
            "body",
        )
    parts = await read_multipart(call)
    metadata_parts = [part for part in parts if part.name == "metadata"]
    if len(metadata_parts) != 1:
        raise ApiError(
            400, Code.BODY, f"metadata: {len(metadata_parts)} parts of this name; one is right", "metadata"
        )
    if len(metadata_parts[0].data) > METADATA_BYTES:
        raise ApiError(
            413, Code.TOO_LARGE, f"metadata: larger than {METADATA_BYTES} bytes, the most", "metadata"
        )
    metadata = parse_metadata(metadata_parts[0].data)
    sent = [part for part in parts if part.name != "metadata"]
    bundle = read_bundle(sent, metadata)
    if bundle is not None:
        return Upload(metadata, encode(bundle))
    module = choose_module(sent, metadata)
    if len(module.data) > MODULE_BYTES:
        raise ApiError(
            413,
            Code.TOO_LARGE,
            f"main_module: {len(module.data)} bytes; at most {MODULE_BYTES} are allowed",
            "main_module",
        )
    return Upload(metadata, module.data)


def choose_module(parts: Sequence[Part], metadata: UploadMetadata) -> Part:
    """`wasm_main`, else `main_module` where that part is no script text, else the one part that is wasm.

    A name is a part's file name, or its name. Pure. Raises ApiError(400).
    """
    for field, name in (("wasm_main", metadata.wasm_main), ("main_module", metadata.main_module)):
        if name is None:
            continue
        found = [part for part in parts if part.file_name == name] or [
            part for part in parts if part.name == name
        ]
        if len(found) != 1:
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}: {len(found)} parts are called {name[:80]!r}; there are {_names(parts)}",
                field,
            )
        if "javascript" not in found[0].content_type:
            return found[0]
    modules = [part for part in parts if part.content_type == _WASM or part.data[:4] == b"\0asm"]
    if len(modules) == 1:
        return modules[0]
    if not modules and len(parts) == 1 and "javascript" not in parts[0].content_type:
        return parts[0]
    what = "no part is a wasm module" if not modules else f"{len(modules)} parts are wasm modules"
    raise ApiError(
        400,
        Code.VALIDATION,
        f"main_module: {what}, of {_names(parts)}; name a JavaScript module, or one of type {_WASM}, in main_module",
        "main_module",
    )


def _name(part: Part) -> str:
    return part.file_name or part.name


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(repr(_name(part)[:80]) for part in parts[:8]) or "none besides metadata"
