"""Stack traces of a bundle, told in the places of its sources where it came with source maps. Pure.

What an author reads is `at handler (src/index.ts:12:5)` instead of the place in the bundle. Which map is of which
module is said by the module's last line (`//# sourceMappingURL=`), else by the names: `index.js.map` is of `index.js`.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from runtime.javascript.bundle import MOST_MAP_BYTES, Bundle, ModuleType
from runtime.javascript.source_map import MalformedMap, Place, SourceMap, parse
from runtime.module_problems import ScriptError

#: By the name of the module that it is of.
Maps = Mapping[str, SourceMap]

_COMMENT: Final = b"//# sourceMappingURL="
_INLINE: Final = "data:application/json;"
_CODE: Final = (ModuleType.ESM, ModuleType.COMMONJS, ModuleType.SCRIPT)
#: Of a line number, of a column.
_DIGITS: Final = 9
#: Of all maps of a bundle together; those that come after it are not read.
MOST_ENTRIES: Final = 2_000_000
#: What a line may become: short names may be of sources with long ones.
_TEXT: Final = 64 * 1024


def maps_of(bundle: Bundle) -> dict[str, SourceMap]:
    """Those that can be read; each module has at most one. One that many modules name is read once."""
    sent = {module.name: module.data for module in bundle.modules if module.type is ModuleType.SOURCE_MAP}
    found: dict[str, SourceMap] = {}
    read: dict[bytes, SourceMap | None] = {}
    left = MOST_ENTRIES
    for module in bundle.modules:
        if module.type not in _CODE:
            continue
        url = _named(module.data)
        data = _inline(url) if url.startswith(_INLINE) else sent.get(_beside(module.name, url))
        data = data or sent.get(f"{module.name}.map")
        if data is None:
            continue
        if data not in read and left > 0:
            read[data] = map_ = _parsed(data)
            # Of one that can't be read it is not known how far it was.
            left -= len(data) // 2 if map_ is None else map_.entries
        known = read.get(data)
        if known is not None:
            found[module.name] = known
    return found


def _parsed(data: bytes) -> SourceMap | None:
    try:
        return parse(data)
    except MalformedMap:
        return None


def has_frames(text: str) -> bool:
    """Whether `text` seems to have a stack trace in it: what is asked of every line that is read."""
    return "\n    at " in text


def translate(text: str, maps: Maps) -> str:
    """`text` with each frame in its source's place, where a map knows it, and as long as there is room for that."""
    if not maps:
        return text
    lines, size = text.split("\n"), 0
    for at, line in enumerate(lines):
        lines[at] = _translate_line(line, maps)
        size += len(lines[at])
        if size > _TEXT:
            break
    return "\n".join(lines)


def translate_error(error: ScriptError, maps: Maps) -> ScriptError:
    """What a top level failed with, as its author knows it."""
    if not maps:
        return error
    error = replace(error, stack=translate(error.stack, maps))
    place = _find(maps, error.file, error.line, error.column or 1)
    if place is None:
        return error
    return replace(error, file=place.source, line=place.line + 1, column=place.column + 1)


def _translate_line(line: str, maps: Maps) -> str:
    """Frames are `    at NAME (FILE:LINE:COLUMN)` and `    at FILE:LINE:COLUMN`. No regular expression: a line is as
    long and as odd as its worker likes.
    """
    stripped = line.lstrip(" ")
    if not stripped.startswith("at "):
        return line
    end = len(line) - 1 if line.endswith(")") else len(line)
    start = max(line.rfind("(", 0, end), line.rfind(" ", 0, end)) + 1
    rest, _, column = line[start:end].rpartition(":")
    file, _, number = rest.rpartition(":")
    if not (file and _is_number(number) and _is_number(column)):
        return line
    place = _find(maps, file, int(number), int(column))
    if place is None:
        return line
    return f"{line[:start]}{place.source}:{place.line + 1}:{place.column + 1}{line[end:]}"


def _find(maps: Maps, file: str, line: int, column: int) -> Place | None:
    """Traces count lines and columns from 1, maps from 0."""
    found = maps.get(file)
    return None if found is None else found.find(line - 1, column - 1)


def _is_number(text: str) -> bool:
    return 0 < len(text) <= _DIGITS and text.isascii() and text.isdigit()


def _named(code: bytes) -> str:
    """What the last such comment says, if the module ends with it; "" without one."""
    at = code.rfind(_COMMENT)
    if at < 0:
        return ""
    url = code[at + len(_COMMENT) :].strip()
    return "" if b"\n" in url or len(url) > 2 * MOST_MAP_BYTES else url.decode("utf-8", "replace")


def _beside(name: str, url: str) -> str:
    """The name of the part that `url` means, from the module `name`: one of the upload's, or of nothing."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), url)) if url else ""


def _inline(url: str) -> bytes | None:
    head, _, text = url.partition(",")
    if not head.endswith(";base64"):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
