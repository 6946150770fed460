"""What a plugin gives instead of tensors by name is named, wherever the tensors go."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from smc_eval.errors import PluginError, SparsityError
from smc_eval.methods.omp import Magnitude
from smc_eval.sparse.given_tensors import wrong_tensors
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import UNSHARDED

WEIGHTS = {"0.weight": torch.ones(2, 3)}
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, "None (NoneType) instead of tensors by name"),
    "a list": ([1], "[1] (list) instead of tensors by name"),
    "numbers as names": ({1: torch.ones(2, 3)}, "1 (int) instead of the name of a tensor"),
    "a number": ({"0.weight": 1.0}, "1.0 (float) instead of a tensor for '0.weight'"),
    "an array": ({"0.weight": np.ones(1)}, "[1.] (numpy.ndarray) instead of a tensor for '0.weight'"),
    "meta": ({"0.weight": torch.ones(2, 3, device="meta")}, "(torch.strided, torch.float32 on meta)"),
    "sparse": ({"0.weight": torch.ones(2, 3).to_sparse()}, "without plain real values (torch.sparse_coo"),
    "complex": (
        {"0.weight": torch.ones(2, 3).to(torch.complex64)},
        "torch.complex64 on cpu)",
    ),
}


@pytest.mark.parametrize("title", WRONG)
def test_what_is_no_tensor_by_name_is_named_as_masks_and_as_saliencies(title: str) -> None:
    given, message = WRONG[title]
    assert message in wrong_tensors(given)
    net = Net(torch.nn.Sequential(torch.nn.Linear(3, 2)), ("0.weight",))
    with pytest.raises(SparsityError, match=re.escape(message)):
        net.set_masks(given)
    with pytest.raises(PluginError, match=re.escape(message)):
        Magnitude()._check(given, WEIGHTS, UNSHARDED)


def test_tensors_by_name_pass() -> None:
    assert wrong_tensors({"a": torch.ones(2), "b": torch.zeros(0).bool()}) == ""
