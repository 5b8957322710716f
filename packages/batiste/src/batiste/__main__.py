"""Print what of Batiste is installed, and how it is set: python -m batiste [--json]."""

import sys

from .about import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
