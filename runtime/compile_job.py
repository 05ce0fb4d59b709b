"""What control and its compile child agree on: how they speak, kinds of jobs, and what one may take.

All that the child needs of what starts it: it imports no more, since each of its starts would pay for that.
"""

from __future__ import annotations

import struct
from typing import Final

#: Before each message, to a child and from it.
MESSAGE_SIZE: Final = struct.Struct("<Q")

#: Kinds of jobs.
MODULE: Final = "module"
JAVASCRIPT: Final = "javascript"

# A module of 200,000 functions takes 14 s, a 12 MB engine 10 s and 300 MiB.
COMPILE_CPU_S: Final = 60
COMPILE_WALL_S: Final = 120
COMPILE_MEMORY_BYTES: Final = 2 << 30
#: A module's initial memory, as data segments lay it out.
MAX_MEMORY_IMAGE_BYTES: Final = 128 << 20
#: Of the start function, as elsewhere: a worker must be ready within a second.
STARTUP_CPU_MS: Final = 1_000
