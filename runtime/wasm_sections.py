"""Bytes of a core module → its declarations, or InvalidModule. Pure, linear in the size, never recursive.

Function bodies, segments and the values of globals are skipped, elements bounded: they are the engine's to
validate, in the compile child. What is read here is what decides whether a module is a worker at all, and
whether compiling it would be reasonable.
Source: WebAssembly core specification 2.0, §5 (binary format).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from runtime.module_problems import InvalidModule, ModuleProblem, quote
from runtime.signatures import FunctionType

MAGIC: Final = b"\0asm"
#: Upper bounds, inclusive. Every one is far above what compilers make and below what would let a small upload
#: cost much: a module of 200,000 functions compiled for 14 s, a link is a look-up an import and an instance.
MAX_TYPES: Final = 10_000
#: Of the whole type section: parsed, a byte becomes a pointer.
MAX_TYPE_BYTES: Final = 1 << 20
#: Of one function type; the engine's own bound.
MAX_PARAMS: Final = 1_000
#: WASI and the ABI have 49 functions together; a linker may name one more than once.
MAX_IMPORTS: Final = 1_000
#: Imported ones included. A StarlingMonkey has some 15,000.
MAX_FUNCTIONS: Final = 100_000
MAX_EXPORTS: Final = 10_000
#: An instance holds 16 bytes for each.
MAX_GLOBALS: Final = 10_000
#: Of the element section, where an element takes a byte at least. Each instantiation evaluates passive ones and
#: expressions in a single step that no tick interrupts: 22 ms for so many; 9 MB of them took 390 ms. A table
#: of 100,000 functions, as compilers lay it out, is 300,000 bytes.
MAX_ELEMENT_BYTES: Final = 1 << 19
#: Most are custom ones, and a toolchain writes some twenty; four million empty ones took 5 s to skip.
MAX_SECTIONS: Final = 1_000
#: What the spec's own §"limits" of the JS embedding says of names, and the engine too.
MAX_NAME_BYTES: Final = 100_000
PAGE_BYTES: Final = 65_536
#: The largest 32-bit memory, in pages.
MAX_PAGES: Final = 65_536

#: Without externref: the engine keeps such references in a garbage collector, which is off.
VALUE_TYPES: Final[dict[int, str]] = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
}
_VALUE_TYPE_BYTES: Final = bytes(VALUE_TYPES)
KINDS: Final = ("function", "table", "memory", "global", "tag")

#: Section id → (name, rank): known sections come in this order, each at most once. The data count (12)
#: stands before the code, though its number came later.
_SECTIONS: Final[dict[int, tuple[str, int]]] = {
    1: ("type", 1),
    2: ("import", 2),
    3: ("function", 3),
    4: ("table", 4),
    5: ("memory", 5),
    6: ("global", 7),
    7: ("export", 8),
    8: ("start", 9),
    9: ("element", 10),
    12: ("data count", 11),
    10: ("code", 12),
    11: ("data", 13),
}
_TAG_SECTION: Final = 13


@dataclass(frozen=True, slots=True)
class Bounds:
    """Minimum and maximum of a memory (in pages) or a table (in elements)."""

    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class ImportedFunction:
    module: str
    name: str
    type_index: int


@dataclass(slots=True)
class Sections:
    """What a module declares. Every index is checked against what it points at, except `start`."""

    types: list[FunctionType] = field(default_factory=list)
    imports: list[ImportedFunction] = field(default_factory=list)
    #: Type index of each function that the module defines, after the imported ones.
    functions: list[int] = field(default_factory=list)
    tables: list[Bounds] = field(default_factory=list)
    memories: list[Bounds] = field(default_factory=list)
    globals: int = 0
    #: Name → (kind, index).
    exports: dict[str, tuple[str, int]] = field(default_factory=dict)
    start: int | None = None

    def function_type(self, index: int) -> FunctionType | None:
        """The type of the function with this index, imported ones first; None when there is none."""
        if index < len(self.imports):
            return self.types[self.imports[index].type_index]
        index -= len(self.imports)
        return self.types[self.functions[index]] if index < len(self.functions) else None


class _Cursor:
    """Reads forward through one stretch of the bytes, and never past its end."""

    __slots__ = ("at", "data", "end", "where")

    def __init__(self, data: bytes, at: int, end: int, where: str) -> None:
        self.data = data
        self.at = at
        self.end = end
        self.where = where

    def malformed(self, what: str) -> InvalidModule:
        message = f"the {self.where} is malformed at byte {self.at}: {what}; build the module again"
        return InvalidModule(ModuleProblem.MALFORMED, message)

    def byte(self) -> int:
        at = self.at
        if at >= self.end:
            raise self.malformed("it ends in the middle of an entry")
        self.at = at + 1
        return self.data[at]

    def u32(self) -> int:
        """An unsigned LEB128 of at most 5 bytes and 32 bits."""
        value = self.byte()
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in (7, 14, 21, 28):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > 0xFFFF_FFFF:
                    raise self.malformed("a number has more than 32 bits")
                return value
        raise self.malformed("a LEB128 number is longer than 5 bytes")

    def bytes(self, size: int) -> bytes:
        at = self.at
        if size > self.end - at:
            raise self.malformed(f"it promises {size} bytes and has {self.end - at}")
        self.at = at + size
        return self.data[at : at + size]

    def name(self) -> str:
        size = self.u32()
        if size > MAX_NAME_BYTES:
            raise self.malformed(f"a name of {size} bytes; at most {MAX_NAME_BYTES}")
        try:
            return self.bytes(size).decode()
        except UnicodeDecodeError:
            raise self.malformed("a name is no UTF-8") from None

    def count(self, most: int, what: str) -> int:
        count = self.u32()
        if count > most:
            raise InvalidModule(
                ModuleProblem.TOO_MANY,
                f"the module has {count:,} {what}; at most {most:,} are allowed: split the worker",
            )
        return count

    def finish(self) -> None:
        if self.at != self.end:
            raise self.malformed(f"{self.end - self.at} bytes are left over after its last entry")


def read_sections(data: bytes, *, max_tables: int) -> Sections:
    """`data` begins with the magic and version of a core module; the caller has checked that.

    Raises InvalidModule: TRUNCATED, MALFORMED, SECTION_ORDER, UNSUPPORTED_FEATURE, TOO_MANY.
    """
    sections = Sections()
    rank = 0
    bodies = 0
    count = 0
    at, end = 8, len(data)
    while at < end:
        count += 1
        if count > MAX_SECTIONS:
            raise InvalidModule(
                ModuleProblem.TOO_MANY,
                f"the module has more than {MAX_SECTIONS:,} sections: strip the custom ones",
            )
        header = _Cursor(data, at, end, "module")
        section_id = header.byte()
        try:
            size = header.u32()
        except InvalidModule as error:
            # Distinguish an upload that was cut off from bytes that never were a number.
            if header.at == end and (header.at == at + 1 or data[end - 1] >= 0x80):
                raise _truncated(at, end) from error
            raise
        if size > end - header.at:
            raise _truncated(at, end)
        name, rank = _check_order(section_id, rank)
        cursor = _Cursor(data, header.at, header.at + size, f"{name} section")
        match name:
            case "type":
                _read_types(cursor, sections)
            case "import":
                _read_imports(cursor, sections)
            case "function":
                _read_functions(cursor, sections)
            case "table":
                _read_tables(cursor, sections, max_tables)
            case "memory":
                _read_memories(cursor, sections)
            case "global":
                sections.globals = cursor.count(MAX_GLOBALS, "globals")
            case "export":
                _read_exports(cursor, sections)
            case "start":
                sections.start = cursor.u32()
                cursor.finish()
            case "element":
                _bound_bytes(cursor, MAX_ELEMENT_BYTES, "element segments")
            case "code":
                bodies = cursor.u32()
        at = header.at + size
    if bodies != len(sections.functions):
        raise InvalidModule(
            ModuleProblem.MALFORMED,
            f"the module declares {len(sections.functions)} functions and has {bodies} bodies; build again",
        )
    return sections


def _truncated(at: int, end: int) -> InvalidModule:
    return InvalidModule(
        ModuleProblem.TRUNCATED,
        f"the module is cut off: the section at byte {at} goes on after the file's end at {end};"
        " upload the whole file",
    )


def _check_order(section_id: int, rank: int) -> tuple[str, int]:
    """The section's name and the new rank; a custom section may stand anywhere."""
    if section_id == 0:
        return "custom", rank
    if section_id == _TAG_SECTION:
        raise InvalidModule(
            ModuleProblem.UNSUPPORTED_FEATURE,
            "the module uses WebAssembly exceptions (a tag section), which are off here: build without them",
        )
    known = _SECTIONS.get(section_id)
    if known is None:
        raise InvalidModule(
            ModuleProblem.MALFORMED, f"the module has a section of unknown kind {section_id}; build it again"
        )
    if known[1] <= rank:
        raise InvalidModule(
            ModuleProblem.SECTION_ORDER,
            f"the {known[0]} section stands twice or too late in the module; build it again",
        )
    return known


def _bound_bytes(cursor: _Cursor, most: int, what: str) -> None:
    size = cursor.end - cursor.at
    if size > most:
        raise InvalidModule(
            ModuleProblem.TOO_MANY, f"the module's {what} take {size:,} bytes; at most {most:,}"
        )


def _read_types(cursor: _Cursor, sections: Sections) -> None:
    _bound_bytes(cursor, MAX_TYPE_BYTES, "types")
    for _ in range(cursor.count(MAX_TYPES, "types")):
        form = cursor.byte()
        if form in (0x4E, 0x4F, 0x50, 0x5E, 0x5F):
            raise InvalidModule(
                ModuleProblem.UNSUPPORTED_FEATURE,
                "the module uses garbage-collected types, which are off here: build for plain wasm32",
            )
        if form != 0x60:
            raise cursor.malformed(f"a type begins with 0x{form:02x} instead of 0x60")
        params = _value_types(cursor, "parameters")
        sections.types.append(FunctionType(params, _value_types(cursor, "results")))
    cursor.finish()


def _value_types(cursor: _Cursor, what: str) -> tuple[str, ...]:
    raw = cursor.bytes(cursor.count(MAX_PARAMS, f"{what} in one type"))
    # `translate` leaves what is not a known type: a check at C's speed.
    unknown = raw.translate(None, _VALUE_TYPE_BYTES)
    if unknown:
        raise InvalidModule(
            ModuleProblem.UNSUPPORTED_FEATURE,
            f"a function has a value type 0x{unknown[0]:02x} that is off here;"
            f" there are {', '.join(VALUE_TYPES.values())}",
        )
    return tuple(map(VALUE_TYPES.__getitem__, raw))


def _read_imports(cursor: _Cursor, sections: Sections) -> None:
    for _ in range(cursor.count(MAX_IMPORTS, "imports")):
        module, name = cursor.name(), cursor.name()
        kind = cursor.byte()
        if kind >= len(KINDS):
            raise cursor.malformed(f"an import of unknown kind {kind}")
        if kind != 0:
            # Refused whatever its type, so that its type need not be read.
            raise InvalidModule(
                ModuleProblem.UNKNOWN_IMPORT,
                f"import {quote(module)} {quote(name)} is a {KINDS[kind]}: only functions can be imported;"
                + (
                    " define the memory in the module and export it"
                    if kind == 2
                    else " define it in the module"
                ),
            )
        sections.imports.append(ImportedFunction(module, name, _type_index(cursor, sections)))
    cursor.finish()


def _type_index(cursor: _Cursor, sections: Sections) -> int:
    index = cursor.u32()
    if index >= len(sections.types):
        raise cursor.malformed(f"type {index} does not exist")
    return index


def _read_functions(cursor: _Cursor, sections: Sections) -> None:
    for _ in range(cursor.count(MAX_FUNCTIONS - len(sections.imports), "functions")):
        sections.functions.append(_type_index(cursor, sections))
    cursor.finish()


def _bounds(cursor: _Cursor, what: str) -> Bounds:
    flags = cursor.byte()
    for bit, feature, hint in (
        (2, f"a shared {what}", "build without threads"),
        (4, f"a 64-bit {what}", "build for wasm32"),
        (8, "custom page sizes", "build with the usual pages of 64 KiB"),
    ):
        if flags & bit:
            message = f"the module uses {feature}, which is off here: {hint}"
            raise InvalidModule(ModuleProblem.UNSUPPORTED_FEATURE, message)
    if flags > 1:
        raise cursor.malformed(f"limits have unknown flags 0x{flags:02x}")
    minimum = cursor.u32()
    maximum = cursor.u32() if flags else None
    if maximum is not None and maximum < minimum:
        raise cursor.malformed(f"a {what}'s maximum of {maximum} is below its minimum of {minimum}")
    return Bounds(minimum, maximum)


def _read_tables(cursor: _Cursor, sections: Sections, most: int) -> None:
    for _ in range(cursor.count(most, "tables")):
        element = cursor.byte()
        if VALUE_TYPES.get(element) != "funcref":
            raise InvalidModule(
                ModuleProblem.UNSUPPORTED_FEATURE,
                f"a table has elements of type 0x{element:02x}; there is funcref",
            )
        sections.tables.append(_bounds(cursor, "table"))
    cursor.finish()


def _read_memories(cursor: _Cursor, sections: Sections) -> None:
    for _ in range(cursor.count(1, "memories")):
        bounds = _bounds(cursor, "memory")
        if max(bounds.minimum, bounds.maximum or 0) > MAX_PAGES:
            raise cursor.malformed(f"a memory of more than {MAX_PAGES} pages")
        sections.memories.append(bounds)
    cursor.finish()


def _read_exports(cursor: _Cursor, sections: Sections) -> None:
    sizes = (
        len(sections.imports) + len(sections.functions),
        len(sections.tables),
        len(sections.memories),
        sections.globals,
    )
    for _ in range(cursor.count(MAX_EXPORTS, "exports")):
        name, kind, index = cursor.name(), cursor.byte(), cursor.u32()
        if kind >= len(sizes):
            raise cursor.malformed(f"an export of unknown kind {kind}")
        if index >= sizes[kind]:
            raise cursor.malformed(f"export {quote(name)} names {KINDS[kind]} {index}, which does not exist")
        if name in sections.exports:
            raise cursor.malformed(f"export {quote(name)} stands twice")
        sections.exports[name] = (KINDS[kind], index)
    cursor.finish()
