"""Makes the helper modules and the example importable: the import mode of the project adds no directory."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "example")]
