"""Filters of system calls, assembled into classic BPF: pure, but for `install`.

Source: seccomp(2), linux/filter.h, linux/seccomp.h. A filter sees the call's number and its six arguments as
numbers; it can't follow a pointer. So `clone3`, whose flags are behind one, is answered as if the kernel had
none, whereupon the C library uses `clone`, whose flags can be seen.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from processes import kernel
from processes.syscalls import MACHINES, NEWEST, number

ALLOW: Final = 0x7FFF_0000
KILL: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN: Final = 0x06

_NUMBER_AT: Final = 0
_ARCH_AT: Final = 4
#: The low half of argument 0 (both machines are little-endian): flags, families and ids fit into it.
_ARGUMENT_AT: Final = 16
#: x86_64: calls of the x32 ABI carry this bit, and would slip past a comparison of numbers.
_X32: Final = 0x4000_0000


def refuse(error: int) -> int:
    """The action: the call does nothing and fails with this errno."""
    return _ERRNO | error


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to a call: `action`; with `values`, only if `argument` & `mask` is one of them, and `otherwise`
    if not.
    """

    name: str
    action: int
    argument: int = 0
    values: tuple[int, ...] = ()
    mask: int = 0xFFFF_FFFF
    otherwise: int = _ERRNO | errno.EPERM


@dataclass(frozen=True, slots=True)
class Filter:
    """`default` is for every call that no rule names; `unknown` for those newer than our table."""

    rules: Sequence[Rule]
    default: int
    unknown: int


def assemble(given: Filter, machine: str) -> bytes:
    """Instructions of 8 bytes. A call of another architecture's ABI ends the process: no library makes one."""
    _, architecture = MACHINES[machine]
    code = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, KILL),
    ]
    for rule in given.rules:
        wanted = number(rule.name, machine)
        if wanted is not None:
            block = _block(rule)
            code += [_step(_EQUAL, wanted, 0, len(block)), *block]
    code += [_step(_AT_LEAST, NEWEST + 1, 0, 1), _step(_RETURN, given.unknown)]
    code.append(_step(_RETURN, given.default))
    return b"".join(code)


def _block(rule: Rule) -> list[bytes]:
    if not rule.values:
        return [_step(_RETURN, rule.action)]
    block = [_step(_LOAD, _ARGUMENT_AT + 8 * rule.argument), _step(_AND, rule.mask)]
    for value in rule.values:
        block += [_step(_EQUAL, value & 0xFFFF_FFFF, 0, 1), _step(_RETURN, rule.action)]
    return [*block, _step(_RETURN, rule.otherwise)]


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def install(given: Filter) -> None:
    """For all threads of this process and whatever it starts, for ever. Raises OSError."""
    kernel.install_filter(assemble(given, kernel.MACHINE))
