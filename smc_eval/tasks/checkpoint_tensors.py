"""Checkpoint tensors: those of a checkpoint's files, read here so that nothing else decides what is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.exported.manifest import PACKED_FILE
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.kind import Checkpoint
from smc_eval.tasks import checkpoint_files as files

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_CONFIG = "adapter_config.json"


def read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names in its files, on the CPU.

    No two of them share memory. transformers would read more than these files where other packages are
    installed: adapters with peft, for one.

    Raises:
        ModelError: two files hold the same name, or a file holds something else than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for path in _paths(checkpoint):
        own = _read_file(path, checkpoint.name)
        if twice := sorted(own.keys() & tensors.keys()):
            raise ModelError(
                f"two files of model {checkpoint.name!r} hold the tensor {twice[0]!r}, the second is "
                f"{path.name}; remove the files that do not belong to it"
            )
        tensors |= own
    return _apart(tensors)


def _paths(checkpoint: Checkpoint) -> list[Path]:
    """The files with tensors. Those of a hub id are fetched into the local cache."""
    if not checkpoint.commit:
        paths = files.weight_files(Path(checkpoint.location), checkpoint.config, checkpoint.name)
        return [path for path in paths if not path.name.endswith(files.INDEX)]
    if adapter := _fetched(checkpoint, ADAPTER_CONFIG):
        files.refuse_adapters(adapter.parent, checkpoint.name)
    named = checkpoint.config.get(files.EXPLICIT_WEIGHTS)
    names = (str(named),) if named else files.WEIGHT_FILES
    first = next((path for name in names if (path := _fetched(checkpoint, name))), None)
    if first is None:
        raise OSError(f"the hub has no {' or '.join(names)}")
    if not first.name.endswith(files.INDEX):
        return [first]
    shards = [_fetched(checkpoint, name) for name in files.shard_names(first, checkpoint.name)]
    if None in shards:
        raise OSError(f"a file that {first.name} names is not there")
    return [shard for shard in shards if shard]


def _fetched(checkpoint: Checkpoint, name: str) -> Path | None:
    """A file of a hub id in the local cache, fetched if need be; None if there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        checkpoint.location,
        name,
        revision=checkpoint.commit,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(path) if path else None


def _read_file(path: Path, model_name: str) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    if path.name == PACKED_FILE:
        return _read_packed(path, model_name)
    if path.suffix == ".safetensors":
        return load_file(path)
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: its {path.name} is no state dict, which maps names "
            "to tensors and holds nothing else"
        )
    if sparse := next((name for name, value in state.items() if value.layout != torch.strided), None):
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: {path.name} holds {sparse!r} in a sparse layout; "
            "save it dense (Tensor.to_dense)"
        )
    return state


def _read_packed(path: Path, model_name: str) -> dict[str, Tensor]:
    try:
        return read_packed(path)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: its {path.name} is not as smc-eval export writes "
            f"it: {error}"
        ) from None


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, where several share memory as copies.

    Two parameters on one memory are trained as one, but counted, masked and stepped as two.
    """
    seen = set[int]()
    for name, tensor in tensors.items():
        memory: Callable[[], int] = tensor.untyped_storage().data_ptr
        if memory() in seen:
            tensors[name] = tensor.clone()
        seen.add(memory())
    return tensors
