"""Load report: what a net took of its checkpoint. A tensor that it should take, or lacks, is an error."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.task import CheckpointUse
from smc_eval.tasks import checkpoint_files as files
from smc_eval.tasks.foreign_tensors import refuse_foreign

if TYPE_CHECKING:
    from torch import Tensor

UNUSED_PARTS = ("pooler", "contact_head")
"""Parts of an encoder that no task uses, and that some checkpoints lack."""

COMPUTED = ("position_ids", "token_type_ids", "inv_freq")
"""Last parts of the names of tensors that a net computes, and that old checkpoints hold."""

HEAD_OF_BERT = "cls"
"""BERT's container of heads: a net may take one of them and leave another."""

STACK = re.compile(r"\.\d+\.[^.]+\.")
"""A number before more than a parameter: a layer. Heads have none."""


def checkpoint_use(
    net: Any,
    tensors: Mapping[str, Tensor],
    report: Mapping[str, Any],
    ties: Mapping[str, str],
    model_name: str,
) -> CheckpointUse:
    """What a net took of the tensors of its checkpoint.

    `net` is a loaded model of transformers without its unused parts, `report` lists the missing and the
    unexpected names without any filter, and `ties` are the pairs of names that the config ties.

    Raises:
        ModelError: the net lacks a tensor, or leaves one that is not of a head, a pooler or computed, or
            took integers as weights, or a tensor that the checkpoint holds twice.
    """
    refuse_missing(net, report["missing_keys"], model_name)
    unused = sorted({*report["unexpected_keys"], *_left_out(net, tensors)})
    refuse_foreign(unused, model_name)
    if strays := [name for name in unused if not may_go_unused(name, net, tensors)]:
        raise ModelError(
            f"the checkpoint {model_name!r} holds {len(strays)} tensors that its net does not take, "
            f"{strays[0]!r} first\n"
            "its config.json belongs to a smaller or another net: give the config that was saved with them"
        )
    _refuse_integers(net, tensors, unused, model_name)
    _refuse_doubles(net, tensors, model_name)
    tied = {name: to for name, to in ties.items() if net.get_parameter(name) is net.get_parameter(to)}
    untied = {name: to for name, to in ties.items() if name not in tied}
    return CheckpointUse(tuple(unused), tied, untied)


def refuse_missing(net: Any, missing: Collection[str], model_name: str) -> None:
    """Refuse a net with tensors that its checkpoint lacks. They would be random.

    Constants may be missing: the net's class says so, and none of them is trained.

    Raises:
        ModelError: there are some; the first is named.
    """
    trained = {name for name, weight in net.named_parameters() if weight.requires_grad}
    own = set(net.state_dict())
    lacking = [
        name
        for name in sorted(own.intersection(missing))
        if name in trained or not (_computed(name) or _declared(net, "missing", name))
    ]
    if lacking:
        raise ModelError(
            f"the checkpoint {model_name!r} lacks {len(lacking)} tensors of its net, {lacking[0]!r} first; "
            "it is incomplete, or its config.json belongs to another architecture"
        )


def may_go_unused(name: str, net: Any, tensors: Iterable[str]) -> bool:
    """Whether the net may leave a tensor: it is of another head or of a pooler, or the net computes it."""
    parts = name.split(".")
    if _computed(name) or _declared(net, "unexpected", name) or set(UNUSED_PARTS).intersection(parts):
        return True
    if STACK.search(name):
        return False
    own, prefix = list(net.state_dict()), f"{net.base_model_prefix}."
    if name.startswith(prefix) and any(given.startswith(prefix) for given in tensors):
        return False
    # of a head that the net takes it may leave nothing
    branch = ".".join(parts[:2] if parts[0] == HEAD_OF_BERT else parts[:1]) + "."
    return not any(own_name.startswith(branch) for own_name in own)


def _left_out(net: Any, tensors: Iterable[str]) -> list[str]:
    """The tensors of parts that were taken out of the net after loading."""
    own = net.state_dict()
    return [
        name
        for name in tensors
        if set(UNUSED_PARTS).intersection(name.split("."))
        and not {name, name.removeprefix(f"{net.base_model_prefix}.")}.intersection(own)
    ]


def _computed(name: str) -> bool:
    return name.rpartition(".")[2] in COMPUTED


def _declared(net: Any, which: str, name: str) -> bool:
    """Whether the net's class itself declares that a name may be missing or unexpected."""
    patterns = getattr(net, f"_keys_to_ignore_on_load_{which}", None) or ()
    return any(re.search(pattern, name) for pattern in patterns)


def _refuse_integers(
    net: Any, tensors: Mapping[str, Tensor], unused: Collection[str], model_name: str
) -> None:
    own = net.state_dict()
    for name, tensor in tensors.items():
        plain = tensor.is_floating_point() and tensor.element_size() > 1
        if plain or name in unused:
            continue
        taken = own.get(name, own.get(name.removeprefix(f"{net.base_model_prefix}.")))
        if files.is_parameter_name(name) or (taken is not None and taken.is_floating_point()):
            raise files.unscaled(model_name, name, str(tensor.dtype).removeprefix("torch."))


def _refuse_doubles(net: Any, tensors: Mapping[str, Tensor], model_name: str) -> None:
    """Refuse two names of the checkpoint for one tensor of the net: the net has room for one."""
    known = dict[str, str]()
    for name in tensors:
        plain = name.removeprefix(f"{net.base_model_prefix}.")
        plain = re.sub(
            r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", plain)
        )
        if (other := known.setdefault(plain, name)) != name:
            raise ModelError(
                f"the checkpoint {model_name!r} holds {plain!r} of its net twice, as {other!r} and as "
                f"{name!r}; remove the one that does not belong to it"
            )
