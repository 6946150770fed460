"""The program that makes the site is no part of the package: it lies beside the documents."""

from __future__ import annotations

import sys
from pathlib import Path

SITE = str(Path(__file__).resolve().parents[2] / "docs" / "site")

if SITE not in sys.path:
    sys.path.insert(0, SITE)
