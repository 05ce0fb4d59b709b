"""`python -m cli.dev.host_process PARENT …`: `tenantry serve …`, that ends when its parent does, however that ends."""

from __future__ import annotations

import sys

from cli.main import main
from processes.confinement import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.exit(main(["serve", *sys.argv[2:]]))
