"""Masks as bits: eight to a byte, the first in the lowest bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def packed(mask: Tensor) -> Tensor:
    """A mask as bits: eight to a byte, the first in the lowest bit; flat, on the CPU, as uint8."""
    import numpy as np
    import torch

    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy(), bitorder="little"))


def unpacked(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """The mask of the bits that `packed` returned, as bool on the CPU."""
    import numpy as np
    import torch

    flat = np.unpackbits(bits.numpy(), count=math.prod(shape), bitorder="little")
    return torch.from_numpy(flat).view(torch.bool).reshape(tuple(shape))
