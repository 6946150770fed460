"""Types of named tensors, by canonical parameter name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Tensors = Mapping[str, Tensor]

Masks = dict[str, Tensor]
"""True keeps a weight."""
