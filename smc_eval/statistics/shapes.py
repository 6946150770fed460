"""What numbers are made of here: arrays of doubles and of whole numbers, named by their shapes."""

# S seeds, N items, K numbers an item, G groups of items, B resamples, P points of a curve.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
