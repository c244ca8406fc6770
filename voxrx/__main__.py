"""``python -m voxrx``: the command ``voxrx``."""

from __future__ import annotations

import sys

from voxrx.cli import main

if __name__ == "__main__":
    sys.exit(main())
