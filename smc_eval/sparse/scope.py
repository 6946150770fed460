"""The tensors in scope, and the three denominators of a sparsity."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from smc_eval.errors import SparsityError
from smc_eval.target import Scope, matches

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - no public name
"""Modules whose weights are gains, of any number of dimensions."""


def embeddings(model: nn.Module, tables: Collection[str] = ()) -> frozenset[str]:
    """Canonical names of lookup tables, and of weights tied to one.

    These are the weights of `nn.Embedding` and of what `get_input_embeddings` returns, whatever its class,
    and the `tables` that were seen to be looked up. A parameter's canonical name is the first that
    `named_parameters` gives it. Tied weights are one parameter with one name.
    """
    found = {id(module.weight) for module in _lookup_modules(model)}
    return frozenset(name for name, weight in model.named_parameters() if id(weight) in found) | set(tables)


def _lookup_modules(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            yield module
        if callable(input_embeddings := getattr(module, "get_input_embeddings", None)):
            try:
                table = input_embeddings()
            except (NotImplementedError, AttributeError):  # the model has none
                continue
            if isinstance(getattr(table, "weight", None), nn.Parameter):
                yield table


def vectors(model: nn.Module) -> frozenset[str]:
    """Canonical names of biases, and of the gains of norms, however many dimensions they have.

    The last part of a bias's name holds `bias`.
    """
    gains = {
        id(weight)
        for module in model.modules()
        if isinstance(module, NORMS)
        for weight in module.parameters(recurse=False)
    }
    return frozenset(
        name
        for name, weight in model.named_parameters()
        if id(weight) in gains or "bias" in name.rpartition(".")[2]
    )


def in_scope(
    model: nn.Module,
    scope: Scope,
    excluded: Collection[str] = (),
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    *,
    unused: Collection[str] = (),
    tables: Collection[str] = (),
) -> tuple[str, ...]:
    """Canonical names of the weights in scope, in the model's order.

    Args:
        excluded: names that the task leaves out of every scope.
        include: patterns of `Target.include`.
        exclude: patterns of `Target.exclude`.
        unused: names that the dense net does not use in the task: they are in no scope.
        tables: names of further lookup tables.

    Raises:
        SparsityError: no weight is left, the model has no weight of an excluded name, or a pattern
            matches no weight in scope.
    """
    names, net = _scope(model, scope, excluded, unused, tables), type(model).__name__
    for flag, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in names):
                raise SparsityError(
                    f"--{flag} {pattern!r} matches no tensor in scope {scope!r} of {net}, "
                    f"which has {len(names)}: {', '.join(names[:2])}, …\n"
                    f"write a pattern that matches a name, such as '*.{_last_module(names[0])}'"
                )
    chosen = tuple(
        name for name in names if (not include or matches(name, include)) and not matches(name, exclude)
    )
    if not chosen:
        raise SparsityError(f"--include and --exclude leave no tensor in scope {scope!r} of {net}")
    return chosen


def _last_module(name: str) -> str:
    """The last module in the name of a parameter: `query` of `encoder.layer.0.query.weight`."""
    return (name.rpartition(".")[0] or name).rpartition(".")[2]


def _scope(
    model: nn.Module,
    scope: Scope,
    excluded: Collection[str],
    unused: Collection[str],
    tables: Collection[str],
) -> tuple[str, ...]:
    shapes = {name: weight.ndim for name, weight in model.named_parameters()}
    if unknown := sorted(set(excluded) - shapes.keys()):
        raise SparsityError(f"the task excludes {unknown[0]!r}, a parameter that the model does not have")
    match scope:
        case "body":
            out = embeddings(model, tables) | vectors(model) | {*excluded, *unused}
            names = tuple(name for name, ndim in shapes.items() if ndim >= 2 and name not in out)
        case "all-2d":
            out = vectors(model) | {*excluded, *unused}
            names = tuple(name for name, ndim in shapes.items() if ndim in (2, 4) and name not in out)
    if not names:
        why = "; the loss depends on none of its matrices" if unused else ""
        raise SparsityError(
            f"scope {scope!r} holds no weight of {type(model).__name__}{why}; nothing can be pruned"
        )
    return names


def sparsities(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    scope: Collection[str],
    tables: Collection[str] = (),
) -> dict[str, float]:
    """Share of masked weights in three totals.

    `scope`: the tensors in scope. `weights`: every tensor of two or more dimensions except
    embeddings, biases and gains. `all`: every parameter. Masks are counted, not values that are zero.
    """
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    matrices = {name for name, weight in model.named_parameters() if weight.ndim >= 2}
    matrices -= embeddings(model, tables) | vectors(model)
    pruned = {name: int(mask.numel() - mask.sum()) for name, mask in masks.items()}

    def share(names: Collection[str]) -> float:
        total = sum(sizes[name] for name in names)
        return sum(pruned.get(name, 0) for name in names) / total if total else 0.0

    return {"scope": share(scope), "weights": share(matrices), "all": share(sizes)}
