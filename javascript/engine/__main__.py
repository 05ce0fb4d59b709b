"""`python -m javascript.engine`: build the engine, if it is not what the sources say.

Where a tool can't be had it says so and ends well: all but JavaScript works without it. `--strict` makes that, and an
engine that differs from the recorded digest on the platform of the record, an error; `--record` writes the digest.
"""

from __future__ import annotations

import sys
import time

from javascript.engine import artifact
from javascript.engine.build import RECORD, build, difference_to_record, is_current, record, this_platform
from javascript.engine.commands import ToolFailed


def main(arguments: list[str]) -> int:
    strict = "--strict" in arguments
    started = time.monotonic()
    try:
        if is_current() and "--force" not in arguments:
            engine = artifact.BUILT.read_bytes()
            print("JavaScript engine: built")
        else:
            engine = build()
            print(f"JavaScript engine: built, {len(engine):,} bytes, {time.monotonic() - started:.0f} s")
    except ToolFailed as error:
        print(f"JavaScript engine: none; uploads of JavaScript will be refused. {error}", file=sys.stderr)
        return 1 if strict else 0
    if "--record" in arguments:
        record(engine)
        return 0
    difference = difference_to_record(engine)
    if difference is not None:
        print(f"JavaScript engine: {difference}", file=sys.stderr)
        return 1 if strict and RECORD.read_text().strip().endswith(this_platform()) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
