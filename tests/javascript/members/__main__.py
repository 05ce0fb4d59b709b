"""`python -m tests.javascript.members --record` writes docs/javascript-globals.md."""

from __future__ import annotations

import argparse
import asyncio

from tests.javascript.members.survey import PAGE, page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", required=True)
    parser.parse_args()
    PAGE.write_text(asyncio.run(page()))


if __name__ == "__main__":
    main()
