"""Masks from a checkpoint: folders, single files, shards, files of masks, and broken files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from smc_eval.errors import ModelError, SparsityError, UsageError
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.planning.plan import describe_stage
from smc_eval.recipe import Recipe
from smc_eval.registry import registry
from smc_eval.sparse.bits import packed
from smc_eval.target import Target
from smc_eval.testing import PrunedToy, Toy, ToyNet, chain_of, run_chain

NO_TRAINING = Recipe(steps=0)


def pruned(seed: int = 3) -> dict[str, Tensor]:
    """A state dict in which every seventh weight of each matrix is zero."""
    torch.manual_seed(seed)
    state = {name: weight.detach().clone() for name, weight in ToyNet().named_parameters()}
    for weight in state.values():
        if weight.ndim >= 2:
            weight.view(-1)[::7] = 0
    return state


def masks_of(method: FromCheckpoint, folder: Path, task: Toy | None = None) -> dict[str, Tensor]:
    """The last masks of a cell without training."""
    record, _, masks = run_chain(
        chain_of(method, Target(), task or Toy(recipe=NO_TRAINING)), folder / "store"
    )
    assert record.certificate.ok
    return masks


def zeros(state: dict[str, Tensor], masks: dict[str, Tensor]) -> bool:
    return all(torch.equal(mask, state[name] != 0) for name, mask in masks.items())


def test_by_default_the_zeros_of_the_model_are_the_masks(tmp_path: Path) -> None:
    record, tensors, masks = run_chain(chain_of(FromCheckpoint(), Target(), PrunedToy()), tmp_path)
    for mask in masks.values():
        assert not mask.view(-1)[::2].any() and mask.view(-1)[1::2].all()
    assert all(not tensors[name][~mask].any() for name, mask in masks.items())
    assert record.cost.steps == 12
    reached = record.sparsity.scope
    assert reached == pytest.approx(0.5, abs=0.01)
    assert record.target.sparsity == reached == record.certificate.reached
    assert record.certificate.asked is None and record.certificate.ok


def test_zeros_outside_the_scope_give_no_masks(tmp_path: Path) -> None:
    assert "words.weight" not in masks_of(FromCheckpoint(), tmp_path, PrunedToy(recipe=NO_TRAINING))


def test_a_net_without_zeros_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SparsityError, match="4 of 4 tensors in scope found, and none of them is exactly zero"
    ):
        run_chain(chain_of(FromCheckpoint(), Target()), tmp_path)


def saved(folder: Path, form: str) -> Path:
    """A pruned checkpoint in one of its forms."""
    state, place = pruned(), folder / "checkpoint"
    place.mkdir()
    halves = [dict(list(state.items())[:4]), dict(list(state.items())[4:])]
    match form:
        case "file.safetensors":
            save_file(state, place / form)
            return place / form
        case "file.bin":
            torch.save(state, place / form)
            return place / form
        case "safetensors":
            save_file(state, place / "model.safetensors")
        case "bin":
            torch.save(state, place / "pytorch_model.bin")
        case "shards":
            index = {"weight_map": {n: f"{k}.safetensors" for k, half in enumerate(halves) for n in half}}
            for number, half in enumerate(halves):
                save_file(half, place / f"{number}.safetensors")
            (place / "model.safetensors.index.json").write_text(json.dumps(index))
        case "wrapped":
            save_file(
                {f"module.net.{name}": weight for name, weight in state.items()}, place / "model.safetensors"
            )
        case "store":
            save_file(state, place / "net.safetensors")
    return place


@pytest.mark.parametrize(
    "form", ["file.safetensors", "file.bin", "safetensors", "bin", "shards", "wrapped", "store"]
)
def test_the_zeros_of_another_checkpoint_are_the_masks_and_its_weights_are_not_used(
    tmp_path: Path, form: str
) -> None:
    method, task = FromCheckpoint(path=str(saved(tmp_path, form))), Toy(recipe=NO_TRAINING)
    _, tensors, masks = run_chain(chain_of(method, Target(), task), tmp_path / "store")
    assert zeros(pruned(), masks)
    assert not torch.equal(tensors["odd.weight"], pruned()["odd.weight"])


@pytest.mark.parametrize("form", [lambda m: m, lambda m: m.float(), lambda m: m.to(torch.uint8), packed])
def test_a_file_of_masks_is_used_unchanged(tmp_path: Path, form: Any) -> None:
    masks = {name: form(weight != 0) for name, weight in pruned().items() if weight.ndim >= 2}
    save_file(masks, tmp_path / "masks.safetensors")
    assert zeros(pruned(), masks_of(FromCheckpoint(mask=str(tmp_path / "masks.safetensors")), tmp_path))


def test_the_masks_of_a_store_can_be_used(tmp_path: Path) -> None:
    first = masks_of(FromCheckpoint(), tmp_path, PrunedToy(recipe=NO_TRAINING))
    (file,) = (tmp_path / "store").glob("nets/*/masks.safetensors")
    again = masks_of(FromCheckpoint(mask=str(file)), tmp_path)
    assert all(torch.equal(mask, again[name]) for name, mask in first.items())


def test_the_digest_depends_on_the_content_and_not_on_the_path(tmp_path: Path) -> None:
    here, there = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(pruned(), here)
    save_file(pruned(), there)
    first, second = FromCheckpoint(path=str(here)), FromCheckpoint(path=str(there))
    assert first.digest() == second.digest()
    assert chain_of(first, Target()).links[0].digest == chain_of(second, Target()).links[0].digest
    save_file(pruned(4), there)
    assert FromCheckpoint(path=str(there)).digest() != first.digest()
    chains = (chain_of(m, Target()).links[0].digest for m in (first, FromCheckpoint(path=str(there))))
    assert len(set(chains)) == 2
    assert FromCheckpoint(mask=str(here)).digest() != first.digest()
    assert FromCheckpoint().digest() != first.digest()


def test_the_label_and_the_plan_show_the_path(tmp_path: Path) -> None:
    save_file(pruned(), tmp_path / "a.safetensors")
    method = FromCheckpoint(path=str(tmp_path / "a.safetensors"))
    assert method.label == f"from-checkpoint:path={tmp_path / 'a.safetensors'}"
    assert (
        describe_stage(next(method.plan(Target())))
        == f"prune by custom masks(path={tmp_path / 'a.safetensors'})"
    )


def test_a_file_that_changes_between_plan_and_run_is_refused(tmp_path: Path) -> None:
    save_file(pruned(), tmp_path / "a.safetensors")
    chain = chain_of(FromCheckpoint(path=str(tmp_path / "a.safetensors")), Target())
    save_file(pruned(4), tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="a.safetensors has changed since this run was planned"):
        run_chain(chain, tmp_path / "store")


def parsed(**options: str) -> FromCheckpoint:
    """The method with options from the command line."""
    kind = registry().method("from-checkpoint")
    method = parse_spec(kind, options, "option", "method 'from-checkpoint'")
    assert isinstance(method, FromCheckpoint)
    return method


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "nowhere"}, "there is no checkpoint nowhere; give a folder, or a file: .safetensors"),
        ({"mask": "nowhere.safetensors"}, "there is no checkpoint nowhere.safetensors"),
        ({"path": "empty"}, "folder empty holds no checkpoint; looked for model.safetensors"),
        ({"path": "notes.txt"}, "notes.txt has an unknown ending; give a file with one of .safetensors"),
        ({"path": "index"}, "names no shards; it must have a weight_map"),
        ({"path": "lost"}, "model.safetensors.index.json names lost/1.safetensors, which does not exist"),
        ({"path": "notes.txt", "mask": "notes.txt"}, "give a path or a mask, not both"),
        ({"pth": "notes.txt"}, "no option of method 'from-checkpoint' is named 'pth'; did you mean 'path'"),
        ({"sha256": "0"}, "no option of method 'from-checkpoint' is named 'sha256'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "index", "lost"):
        Path(name).mkdir()
    Path("notes.txt").write_text("no tensors")
    Path("index/model.safetensors.index.json").write_text("[]")
    Path("lost/model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors"}}')
    with pytest.raises(UsageError, match=message) as caught:
        parsed(**options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "a.pt"])
def test_the_error_of_a_broken_file_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80no tensors at all")
    with pytest.raises(ModelError, match=rf"{name} cannot be read as tensors: "):
        run_chain(chain_of(FromCheckpoint(path=str(tmp_path / name)), Target()), tmp_path / "store")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "it must map names to tensors"),
        ([torch.ones(2, 2)], "it must map names to tensors"),
        (
            {"state_dict": pruned(), "ema": pruned(4)},
            "it holds several: 'state_dict', 'ema'; save one of them alone",
        ),
    ],
)
def test_the_error_of_a_file_that_is_no_state_dict_names_it(
    tmp_path: Path, content: Any, message: str
) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=rf"a.pt is not a state dict: {message}"):
        run_chain(chain_of(FromCheckpoint(path=str(tmp_path / "a.pt")), Target()), tmp_path / "store")


@pytest.mark.parametrize("place", [("state_dict",), ("epoch_3", "model"), ()])
def test_a_state_dict_inside_other_dicts_is_found(tmp_path: Path, place: tuple[str, ...]) -> None:
    moments = {"state": {0: {"exp_avg": torch.ones(5, 7)}}, "param_groups": [{"lr": 0.1}]}
    content: Any = pruned()
    for name in place:
        content = {name: content, "epoch": 3, "optimizer": moments, "losses": torch.ones(9)}
    torch.save(content, tmp_path / "a.pt")
    assert zeros(pruned(), masks_of(FromCheckpoint(path=str(tmp_path / "a.pt")), tmp_path))


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (0, ""),
        (1, "; 'encoder.weight_ih_l0' stays whole"),
        (2, "; 'encoder.weight_ih_l0' and 1 more stay whole"),
    ],
)
def test_the_record_says_how_many_tensors_in_scope_were_found(
    tmp_path: Path, left_out: int, said: str
) -> None:
    scope = ["encoder.weight_ih_l0", "encoder.weight_hh_l0", "down.weight", "odd.weight"]
    file = tmp_path / "a.safetensors"
    save_file({name: weight for name, weight in pruned().items() if name not in scope[:left_out]}, file)
    chain = chain_of(FromCheckpoint(path=str(file)), Target(), Toy(recipe=NO_TRAINING))
    for _ in range(2):  # the second one finds the net in the store
        record = run_chain(chain, tmp_path / "store")[0]
        assert record.notes == (f"a.safetensors: {4 - left_out} of 4 tensors in scope found{said}",)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"x.y.z": torch.zeros(2, 2)}, "no given name matches a name in scope: given 'x.y.z'"),
        ({"odd.weight": torch.zeros(7, 5)}, r"'odd.weight' is \(7, 5\), but .* of the net is \(5, 7\)"),
        ({"odd.weight": torch.ones(5, 7)}, "prune nothing in scope"),
        (
            {f"{side}.odd.weight": torch.zeros(5, 7) for side in ("one", "two")},
            "the given names are ambiguous: '…' could be 'one.…', or '…' be 'two.…'",
        ),
    ],
)
def test_a_checkpoint_of_another_net_is_refused(
    tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(SparsityError, match=message):
        run_chain(
            chain_of(FromCheckpoint(path=str(tmp_path / "a.safetensors")), Target()), tmp_path / "store"
        )
