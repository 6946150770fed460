"""Array types: doubles and whole numbers. Names of arrays end in their shapes."""

# S seeds, N items, K numbers an item, G groups of items, B resamples, P points of a curve.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
