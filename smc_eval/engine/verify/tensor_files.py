"""Tensor files: the tensors of checkpoint files, one after the other, whatever wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from smc_eval.errors import ModelError, first_line
from smc_eval.exported.packed_tensors import METADATA_KEY, read_packed
from smc_eval.sparse.plain_tensors import find_state_dict, plain_tensors


class TensorFiles:
    """The tensors of some files by name. Those of plain safetensors are read one by one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open them.

        Raises:
            ModelError: a file cannot be read, or two hold one name.
        """
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for path in paths:
            for name, reader in _readers(path).items():
                if name in self._readers:
                    raise ModelError(
                        f"two files hold the tensor {name!r}, the second is {path}; give one of them"
                    )
                self._readers[name] = reader

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the files."""
        return tuple(self._readers)

    def __getitem__(self, name: str) -> Tensor:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of each."""
        for name in self._readers:
            yield name, self[name]


def _readers(path: Path) -> dict[str, Callable[[], Tensor]]:
    try:
        if path.suffix == ".safetensors":
            return _of_safetensors(path)
        return {name: _giving(tensor) for name, tensor in _of_torch(path).items()}
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  a broken file can raise anything
        raise ModelError(
            f"{path} cannot be read as tensors: {first_line(error)[:160] or type(error).__name__}"
        ) from None


def _of_safetensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    with safe_open(path, "pt") as file:
        names, told = list(file.keys()), METADATA_KEY in (file.metadata() or {})
    if told:
        return {name: _giving(tensor) for name, tensor in read_packed(path).items()}
    return {name: _reading(path, name) for name in names}


def _of_torch(path: Path) -> dict[str, Tensor]:
    """The weights of the state dict in a file, also of pairs of torch's pruning and of sparse layouts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken file causes warnings before the error
        content = torch.load(path, map_location="cpu", weights_only=True)
    return plain_tensors(find_state_dict(content), "weights")


def _giving(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _reading(path: Path, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with safe_open(path, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    return read
