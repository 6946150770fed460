"""Zeros: how many survive quantising, merging an adapter or converting, as a table for docs/take-home.md.

    python benchmarks/zeros.py

A matrix of 256 x 512 values has 80 % zeros and one empty row. Each row of the table takes it through a
library and counts the zeros that are exactly zero again afterwards. A library that is not installed is left
out, and named: peft, torchao, gguf, optimum-quanto, bitsandbytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROWS, COLUMNS, SPARSITY = 256, 512, 0.8

Change = Callable[[Tensor], Tensor]
"""Takes a matrix through a library and back to fp32."""


def sparse_matrix() -> Tensor:
    """The matrix, of shape [256, 512]; row 3 is empty."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.05 * torch.randn(ROWS, COLUMNS, generator=generator)
    weight[torch.rand(ROWS, COLUMNS, generator=generator) < SPARSITY] = 0
    weight[3] = 0
    return weight


def layer_of(weight: Tensor) -> nn.Sequential:
    """A net of one linear layer with this weight."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return nn.Sequential(layer)


def adapter(method: str, *, steps: int = 3) -> Change:
    """An adapter of peft, trained for a few steps, merged into the weight."""

    def change(weight: Tensor) -> Tensor:
        import peft

        kinds: dict[str, tuple[type, dict[str, Any]]] = {
            "LoRA": (peft.LoraConfig, {"r": 4}),
            "DoRA": (peft.LoraConfig, {"r": 4, "use_dora": True}),
            "LoHa": (peft.LoHaConfig, {"r": 4}),
            "IA3": (peft.IA3Config, {"feedforward_modules": []}),
            "PiSSA": (peft.LoraConfig, {"r": 4, "init_lora_weights": "pissa"}),
        }
        config, options = kinds[method]
        model: Any = peft.get_peft_model(layer_of(weight), config(target_modules=["0"], **options))
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        inputs = torch.randn(8, weight.shape[1], generator=torch.Generator().manual_seed(1))
        for _ in range(steps):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
        merged = model.unload() if method == "PiSSA" else model.merge_and_unload()
        return merged[0].weight.detach()

    return change


def by_torchao(name: str) -> Change:
    """Weights quantised by torchao, and back."""

    def change(weight: Tensor) -> Tensor:
        import torchao.quantization as ao

        configs = {
            "int8": ao.Int8WeightOnlyConfig,
            "float8": ao.Float8WeightOnlyConfig,
        }
        model = layer_of(weight)
        ao.quantize_(model, configs[name]())
        return model[0].weight.dequantize().float()

    return change


def by_gguf(name: str) -> Change:
    """One of the formats of GGUF, and back."""

    def change(weight: Tensor) -> Tensor:
        import gguf

        kind = gguf.GGMLQuantizationType[name]
        stored = gguf.quants.quantize(weight.numpy(), kind)
        return torch.from_numpy(np.array(gguf.quants.dequantize(stored, kind)))

    return change


def by_quanto(name: str) -> Change:
    """Weights quantised by quanto, and back."""

    def change(weight: Tensor) -> Tensor:
        from optimum import quanto

        model = layer_of(weight)
        quanto.quantize(model, weights=getattr(quanto, name))
        quanto.freeze(model)
        return model[0].weight.dequantize().detach()

    return change


def by_bitsandbytes(name: str) -> Change:
    """Blocks of weights quantised by bitsandbytes, and back."""

    def change(weight: Tensor) -> Tensor:
        from bitsandbytes import functional

        if name == "blockwise 8-bit":
            return functional.dequantize_blockwise(*functional.quantize_blockwise(weight))
        return functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type=name))

    return change


def by_torch(name: str) -> Change:
    """Conversions that torch itself makes."""
    changes: dict[str, Change] = {
        "bf16": lambda weight: weight.bfloat16().float(),
        "fp16": lambda weight: weight.half().float(),
        "float8_e4m3fn": lambda weight: weight.to(torch.float8_e4m3fn).float(),
        "CSR": lambda weight: weight.to_sparse_csr().to_dense(),
        "mean of two nets": lambda weight: (weight + weight.roll(1)) / 2,
    }
    return changes[name]


CHANGES: tuple[tuple[str, str, Change], ...] = (
    *(
        ("torch", name, by_torch(name))
        for name in ("bf16", "fp16", "float8_e4m3fn", "CSR", "mean of two nets")
    ),
    *(("torchao", name, by_torchao(name)) for name in ("int8", "float8")),
    *(("optimum-quanto", name, by_quanto(name)) for name in ("qint8", "qint4", "qint2", "qfloat8")),
    *(("bitsandbytes", name, by_bitsandbytes(name)) for name in ("blockwise 8-bit", "nf4", "fp4")),
    *(("gguf", name, by_gguf(name)) for name in ("Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")),
    *(("peft", name, adapter(name)) for name in ("LoRA", "DoRA", "LoHa", "IA3", "PiSSA")),
)


def rows() -> Iterator[str]:
    """The table, a line for each change."""
    weight = sparse_matrix()
    zero = weight == 0
    yield "| library | what | zeros that stay | not finite |"
    yield "|---|---|---|---|"
    missing = dict[str, str]()
    for library, name, change in CHANGES:
        try:
            release = version(library)
        except PackageNotFoundError:
            missing[library] = "not installed"
            continue
        try:
            after = change(weight.clone())
        except (ImportError, RuntimeError, NotImplementedError, AttributeError, AssertionError) as error:
            missing[f"{library} {release} {name}"] = (
                f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
            )
            continue
        stay = float((after[zero] == 0).float().mean())
        wrong = int((~after.isfinite()).sum())
        yield f"| {library} {release} | {name} | {stay:.1%} | {wrong or '–'} |"
    for name, reason in missing.items():
        yield f"left out: {name}: {reason}"


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
