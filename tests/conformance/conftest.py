"""Makes the helper modules of this directory importable: the project's import mode adds no directory by itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
