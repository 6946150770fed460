"""Foreign tensors: names of what other programs put into a checkpoint, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from smc_eval.errors import ModelError


@dataclass(frozen=True)
class Foreign:
    """A program's own tensors, which no net of transformers takes."""

    names: re.Pattern[str]
    description: str
    remedy: str


FOREIGN = (
    Foreign(
        re.compile(
            r"(^|[._])(lora|loha|lokr|hada|ia3|vera|oft|hra|prompt)_|\.(adapters?|modules_to_save|base_layer)\."
        ),
        "part of an adapter",
        "merge the adapter into the weights and save them (peft: merge_and_unload)",
    ),
    Foreign(
        re.compile(r"_orig$|(weight|bias)_mask$|(^|\.)parametrizations\.|\.(weight|bias)_(g|v|u)$"),
        "half of a weight that a hook computes (pruning or parametrisation of torch)",
        "make it permanent and save the plain weights (prune.remove, parametrize.remove_parametrizations)",
    ),
    Foreign(
        re.compile(r"\.(bitmask|compressed|row_offsets)$|weight_(packed|shape)$"),
        "part of packed weights",
        "decompress them with the library that packed them, and save the plain weights",
    ),
    Foreign(
        re.compile(r"binary_mask$|nncf"),
        "a mask of NNCF, which its weights do not contain",
        "strip the model (nncf.strip) and save the plain weights",
    ),
    Foreign(
        re.compile(
            r"(weight|input|output|[qkv])_(scale|scales|zero_point|scale_inv|global_scale)(_\d+)?$"
            r"|\.(scale|scales|zero_point|zeros|qweight|qzeros|qscales|g_idx|SCB|absmax|quant_map|weight_format)$"
            r"|(absmax|quant_map|quant_state\.\w+|_packed_params\w*|_dtype)$"
        ),
        "a scale or another part of a quantised weight",
        "dequantise the weights and save them in fp32, fp16 or bf16",
    ),
)


def foreign(name: str) -> Foreign | None:
    """The program that a tensor's name points to; None if it is an ordinary one."""
    return next((one for one in FOREIGN if one.names.search(name)), None)


def refuse_foreign(names: Iterable[str], model_name: str) -> None:
    """Refuse a checkpoint with tensors of other programs.

    Raises:
        ModelError: there are some; the first is named.
    """
    found = [(name, one) for name in names if (one := foreign(name))]
    if found:
        name, one = found[0]
        more = sum(other is one for _, other in found) - 1
        raise ModelError(
            f"the tensor {name!r} of model {model_name!r}{f' and {more} more' if more else ''} would be "
            f"ignored: it is {one.description}; {one.remedy}"
        )
