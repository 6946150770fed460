"""The converter: every tensor of the published encoder under our name, and nothing that it holds is run."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from published import checkpoint, names
from smc_eval_structures.config import TINY
from smc_eval_structures.convert import convert, main, our_name
from smc_eval_structures.model_kind import StructureKind

from smc_eval import ModelError, ModelKind, find_backbone
from smc_eval.kind import WrongKind
from smc_eval.testing import KindContract


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


class TestStructureKind(KindContract):
    kind: ModelKind = StructureKind()

    def save(self, folder: Path) -> None:
        convert(write(folder.parent / "published.pt", checkpoint()[0]), folder)


def test_each_published_name_is_one_of_ours_and_all_of_ours_are_there() -> None:
    state = dict(checkpoint()[1].state_dict())
    modules = {name.rpartition(".")[0] for name in state if name != "token"}
    known = dict(names())
    assert modules <= set(known.values())
    for theirs, ours in known.items():
        assert our_name(f"{theirs}.weight") == f"{ours}.weight"
    assert our_name("embed_tokens.weight") == "token"
    assert our_name("embed_nothing.weight") is None


def test_a_converted_encoder_has_the_published_tensors_and_sizes(tmp_path: Path) -> None:
    content, encoder = checkpoint()
    assert convert(write(tmp_path / "it.pt", content), tmp_path / "folder") == TINY
    loaded = find_backbone(str(tmp_path / "folder"), StructureKind()).load()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_the_older_names_of_the_published_file_are_known_too(tmp_path: Path) -> None:
    content, encoder = checkpoint()
    older = {
        "gvp_encoder.embed_graph.embed_node": "gvp_encoder.W_v",
        "gvp_encoder.embed_graph.embed_edge": "gvp_encoder.W_e",
        "gvp_encoder.embed_graph.embed_confidence": "gvp_encoder.embed_score",
        "embed_confidence": "embed_scores.0",
        "embed_dihedrals": "embed_ingraham_features",
        "embed_gvp_output": "embed_gvp_in_local_frame.0",
        "embed_gvp_input_features": "embed_features_in_local_frame.0",
    }
    model = {}
    for name, tensor in content["model"].items():
        for new, old in older.items():
            if name.startswith(f"encoder.{new}."):
                name = name.replace(new, old, 1)
                break
        model[name] = tensor
    model["encoder.version"] = torch.tensor([3.0])
    assert sum("W_v" in name for name in model) == 6
    convert(write(tmp_path / "it.pt", content | {"model": model}), tmp_path / "folder")
    loaded = find_backbone(str(tmp_path / "folder"), StructureKind()).load().state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in encoder.state_dict().items())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))


def test_a_file_that_is_no_such_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, _ = checkpoint()
    model = content["model"]
    lacking = {name: tensor for name, tensor in model.items() if "fc1" not in name}
    wide = model | {"encoder.layer_norm.weight": torch.ones(49)}
    further = model | {"encoder.layers.7.fc1.weight": torch.ones(96, 48)}
    wrong = [
        (write(tmp_path / "a.pt", {"model": model}), "holds no 'args' and 'model'"),
        (write(tmp_path / "b.pt", content | {"args": {"dropout": 0.1}}), "have no encoder_embed_dim"),
        (write(tmp_path / "c.pt", content | {"model": lacking}), "lacks 4 tensors of its net, 'layers.0.up"),
        (write(tmp_path / "d.pt", content | {"model": wide}), r"'norm\.weight' .* has shape \(49,\)"),
        (write(tmp_path / "e.pt", content | {"model": further}), "1 tensors that its net does not take"),
        (
            write(tmp_path / "f.pt", content | {"model": model | {"encoder.x": torch.ones(1)}}),
            "holds 'encoder.x'",
        ),
        (write(tmp_path / "g.pt", content | {"model": {}}), "holds no encoder"),
        (tmp_path / "h.pt", "cannot read"),
    ]
    (tmp_path / "i.pt").write_bytes(pickle.dumps({"args": Harmful(), "model": {}}))
    (tmp_path / "j.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:5000])
    (tmp_path / "k.pt").write_bytes(b"")
    wrong += [(tmp_path / f"{name}.pt", "is no checkpoint of tensors") for name in "ijk"]
    for path, message in wrong:
        with pytest.raises(ModelError, match=message) as error:
            convert(path, tmp_path / "folder")
        assert path.name in str(error.value)
    assert not (tmp_path / "folder").exists() and not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob(".converting-*"))


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "it.pt", checkpoint()[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ModelError, match="exists; name a new folder"):
        convert(path, tmp_path / "mine")


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "no.pt"), str(tmp_path / "folder")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("smc-eval-convert-esm-if1: cannot read")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 47, "wanted an even multiple of heads, 4"),
        ("neighbours", 0, "neighbours is 0; wanted a positive whole number"),
        ("node_scalars", True, "node_scalars is True"),
        ("dropout", 1.0, "dropout is 1.0; wanted a share"),
        ("graph_layers", "four", "graph_layers is 'four'"),
    ],
)
def test_a_config_of_which_no_encoder_can_be_made_is_refused(tmp_path, field, value, message) -> None:
    convert(write(tmp_path / "it.pt", checkpoint()[0]), tmp_path / "folder")
    path = tmp_path / "folder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(WrongKind, match=message):
        find_backbone(str(tmp_path / "folder"), StructureKind())


def test_a_config_without_a_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gvp-transformer"}')
    with pytest.raises(WrongKind, match="a structure encoder whose config.json is wrong: it has no width; "):
        find_backbone(str(tmp_path), StructureKind())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "esm"}, "of the type 'esm', which reads no coordinates"),
        ({"model_type": "mbart", "is_encoder_decoder": True}, "of the type 'mbart', which reads no"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_what_would_fit(tmp_path: Path, config, reason: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{reason}.*this task takes a structure encoder such as esm_if1"):
        find_backbone(str(tmp_path), StructureKind())
