"""Lets the tests of the sessions' modules import them as `noxfile.py` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
