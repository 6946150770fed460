"""The config of a structure encoder: its sizes, as they stand in its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

MODEL_TYPE = "gvp-transformer"
"""`model_type` of a config.json: graph layers of vector perceptrons below layers of a transformer."""

NODE_FEATURES, EDGE_FEATURES = (7, 3), (34, 1)
"""Scalars and vectors that a residue, and an edge, show to the first layer."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder. The defaults are those of ESM-IF1, Hsu et al. (2022)."""

    width: int = 512
    """Width of the transformer and of its states."""
    layers: int = 8
    heads: int = 8
    inner: int = 2048
    graph_layers: int = 4
    node_scalars: int = 1024
    node_vectors: int = 256
    edge_scalars: int = 32
    edge_vectors: int = 1
    neighbours: int = 30
    """Residues nearest to each, itself among them, with which it has an edge."""
    dropout: float = 0.1
    attention_dropout: float = 0.1
    graph_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes that no encoder can have.

        Raises:
            ValueError: a size is no positive whole number, a dropout is no share, or heads do not divide
                the width.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{field.name} is {value!r}; wanted a positive whole number")
            if field.type == "float" and not (isinstance(value, (int, float)) and 0 <= value < 1):
                raise ValueError(f"{field.name} is {value!r}; wanted a share from 0 to below 1")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width is {self.width}; wanted an even multiple of heads, {self.heads}")

    @classmethod
    def of_json(cls, config: Mapping[str, Any]) -> EncoderConfig:
        """The config of a checkpoint, from its `config.json`.

        Raises:
            ValueError: a size is missing or wrong.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in config]:
            raise ValueError(f"it has no {missing[0]}")
        return cls(**{name: config[name] for name in names})

    def to_json(self) -> str:
        """The content of a `config.json`."""
        head = {"model_type": MODEL_TYPE, "architectures": ["StructureEncoder"]}
        return json.dumps({**head, **asdict(self)}, indent=2) + "\n"


TINY = EncoderConfig(
    width=48,
    layers=2,
    heads=4,
    inner=96,
    graph_layers=2,
    node_scalars=16,
    node_vectors=4,
    edge_scalars=8,
    edge_vectors=1,
    neighbours=6,
    dropout=0.0,
    attention_dropout=0.0,
    graph_dropout=0.0,
)
"""The sizes of `--model tiny`."""
