"""The verb verify-sparsity: zeros of checkpoints of any origin, by hand-made files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

Invoke = Callable[..., Any]

MATRIX = torch.tensor([[1.0, 0, 0, 2], [0, 0, 0, 0], [3, 4, 5, 0]])
"""Seven zeros of twelve; row 1 is dead, no column is; the last of three groups breaks 2:4."""


def saved(folder: str, tensors: dict[str, Tensor], **config: Any) -> Path:
    place = Path(folder)
    place.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(config))
    return place


def as_json(ended: Any, code: int = 0) -> Any:
    assert ended.exit_code == code, ended.output
    return json.loads(ended.stdout)


def test_sparsity_patterns_and_dead_rows_are_counted_by_hand(invoke: Invoke) -> None:
    tensors = {"layer.weight": MATRIX, "layer.bias": torch.ones(3), "embed_tokens.weight": torch.ones(2, 4)}
    found = as_json(invoke("verify-sparsity", saved("a", tensors), "--json"))
    assert found["sparsity"] == {"scope": 7 / 12, "weights": 7 / 12, "all": 7 / 23}
    counts = found["tensors"]["layer.weight"]
    assert (counts["dead_rows"], counts["dead_columns"]) == (1, 0)
    assert (counts["fitting"], counts["groups"]) == (2, 3)
    assert found["faults"] == []
    by_one = as_json(invoke("verify-sparsity", "a", "--json", "--pattern", "1:2"))["tensors"]["layer.weight"]
    assert (by_one["fitting"], by_one["groups"]) == (5, 6)
    table = invoke("verify-sparsity", "a")
    assert table.exit_code == 0
    assert "layer.weight" in table.stdout and "0.5833" in table.stdout and "0.6667" in table.stdout
    assert "0.583333 of the matrices with zeros" in table.stdout


def test_minus_zero_is_shown_and_nan_fails(invoke: Invoke) -> None:
    minus = MATRIX.clone()
    minus[1] = -minus[1]
    found = as_json(invoke("verify-sparsity", saved("minus", {"a.weight": minus}), "--json"))
    assert found["tensors"]["a.weight"]["negative_zeros"] == 4
    assert "4 zeros with a minus sign (−0.0)" in invoke("verify-sparsity", "minus").stdout
    wrong = MATRIX.clone()
    wrong[0, 0], wrong[2, 0] = torch.nan, torch.inf
    found = as_json(invoke("verify-sparsity", saved("nan", {"a.weight": wrong}), "--json"), code=1)
    assert found["faults"] == ["2 values are not finite, in 'a.weight'"]


def test_a_tie_that_the_values_break_fails(invoke: Invoke) -> None:
    table, output = torch.arange(8.0).view(4, 2), torch.arange(8.0).view(4, 2)
    output[0, 0] = 9
    pair = {"model.embed_tokens.weight": table, "lm_head.weight": output}
    # most values are equal: they were one tensor
    found = as_json(invoke("verify-sparsity", saved("most", pair), "--json"), code=1)
    wanted = "'lm_head.weight' and 'model.embed_tokens.weight' should be one tensor, and 1 of 8 values differ"
    assert found["faults"] == [wanted]
    apart = {**pair, "lm_head.weight": -1 - table}
    assert as_json(invoke("verify-sparsity", saved("apart", apart), "--json"))["ties"][0]["broken"] is False
    tied = saved("tied", apart, tie_word_embeddings=True)
    assert as_json(invoke("verify-sparsity", tied, "--json"), code=1)["ties"][0]["differing"] == 8
    equal = as_json(
        invoke("verify-sparsity", saved("equal", {**pair, "lm_head.weight": table.clone()}), "--json")
    )
    assert equal["ties"][0]["differing"] == 0 and equal["faults"] == []


def test_lost_zeros_are_counted_against_another_checkpoint(invoke: Invoke) -> None:
    saved("before", {"layer.weight": MATRIX, "gone.weight": MATRIX, "layer.bias": torch.zeros(3)})
    after = MATRIX.clone()
    after[0, 1], after[1, 3], after[2, 3] = 1e-9, torch.nan, 0.5
    saved("after", {"model.layer.weight": after})
    found = as_json(invoke("verify-sparsity", "after", "--against", "before", "--json"), code=1)
    assert found["against"]["zeros"] == 7 and found["against"]["lost"] == 3
    assert found["against"]["missing"] == ["gone.weight"]
    assert "3 of 7 zeros were lost, in 'model.layer.weight'" in found["faults"]
    kept = invoke("verify-sparsity", "before", "--against", "before")
    assert kept.exit_code == 0 and "against: 14 of 14 zeros stayed" in kept.stdout


def test_pickles_shards_and_pairs_of_torch_are_read(invoke: Invoke) -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.ones(3, 4))
    prune.custom_from_mask(layer, "weight", MATRIX != 0)
    torch.save({"state_dict": layer.state_dict()}, "pruned.pt")
    found = as_json(invoke("verify-sparsity", "pruned.pt", "--json"))
    assert found["tensors"]["weight"]["zeros"] == 7
    Path("shards").mkdir()
    save_file({"a.weight": MATRIX}, "shards/one.safetensors")
    save_file({"b.weight": torch.ones(3, 4)}, "shards/two.safetensors")
    places = {"weight_map": {"a.weight": "one.safetensors", "b.weight": "two.safetensors"}}
    Path("shards/model.safetensors.index.json").write_text(json.dumps(places))
    assert as_json(invoke("verify-sparsity", "shards", "--json"))["sparsity"]["weights"] == 7 / 24


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (
            {"a.weight.bitmask": MATRIX.to(torch.uint8), "a.weight.compressed": torch.ones(5)},
            {},
            "it is part of packed weights",
        ),
        ({"a.weight": MATRIX.to(torch.int8), "a.weight_scale": torch.ones(3)}, {}, "a quantised weight"),
        ({"a.lora_A.weight": MATRIX}, {}, "it is part of an adapter"),
        ({"a.weight": MATRIX}, {"quantization_config": {"quant_method": "gptq"}}, "packed or quantised"),
    ],
)
def test_what_other_programs_packed_is_refused_and_not_counted(
    invoke: Invoke, tensors: dict[str, Tensor], config: dict[str, Any], message: str
) -> None:
    ended = invoke("verify-sparsity", saved("a", tensors, **config))
    assert ended.exit_code == 2 and message in ended.stderr and ended.stdout == ""


class Evil:
    """Whatever pickle would call."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("it-ran"),)


@pytest.mark.parametrize("made", ["cut", "text", "code", "nothing", "integers", "pattern"])
def test_what_is_no_checkpoint_is_refused(invoke: Invoke, made: str) -> None:
    words: tuple[str, ...] = ()
    place = Path(f"{made}.safetensors")
    if made == "cut":
        save_file({"a": MATRIX}, place)
        place.write_bytes(place.read_bytes()[:-8])
    elif made == "text":
        place.write_text("no tensors")
    elif made == "code":
        place = Path("code.bin")
        torch.save({"a": Evil()}, place)
    elif made == "integers":
        save_file({"a.weight": MATRIX.to(torch.int8)}, place)
    elif made == "pattern":
        save_file({"a": MATRIX}, place)
        words = ("--pattern", "4:2")
    ended = invoke("verify-sparsity", place, *words)
    assert ended.exit_code == 2 and ended.stdout == ""
    assert 1 <= len(ended.stderr.strip().splitlines()) <= 3
    assert not Path("it-ran").exists()


def test_an_exported_folder_is_checked_against_its_own_masks(invoke: Invoke, store: Path) -> None:
    from safetensors.torch import load_file

    assert invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet").exit_code == 0
    found = as_json(invoke("verify-sparsity", "out", "--json"))
    record = json.loads(Path("out/smc_eval.json").read_text())["record"]
    assert found["sparsity"]["scope"] == record["sparsity"]["scope"] == 0.5
    pooler = 128 * 128  # of the class, and not of the net
    matrices = record["certificate"]["in_scope"] + 128 + pooler  # with the output layer of the head
    assert found["sparsity"]["weights"] == pytest.approx(record["certificate"]["remaining"] / matrices)
    assert "dense.weight" in found["tensors"]
    tensors = load_file("out/model.safetensors")
    tensors["encoder.layer.0.output.dense.weight"] += 1e-3
    save_file(tensors, "out/model.safetensors", {"format": "pt"})
    changed = as_json(invoke("verify-sparsity", "out", "--json"), code=1)
    assert "values under the masks of the folder are not zero" in changed["faults"][0]
