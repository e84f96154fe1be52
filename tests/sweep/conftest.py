"""Makes the helper modules `_*.py` of this folder importable, here and in worker processes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
