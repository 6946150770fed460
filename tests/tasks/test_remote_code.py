"""Python code that a checkpoint brings is named and never run, whatever a plugin asks for."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from smc_eval.engine.device import Device
from smc_eval.engine.initial_net import initial_model
from smc_eval.errors import ModelError, PluginError
from smc_eval.kind import Checkpoint, KindCard, ModelKind
from smc_eval.tasks.backbone import Backbone, find_backbone
from smc_eval.testing import Toy

CODE = """
import pathlib
pathlib.Path({marker!r}).touch()
from transformers import BertConfig, BertModel
class OwnConfig(BertConfig):
    model_type = "own"
class Own(BertModel):
    config_class = OwnConfig
"""


class Trusting(ModelKind):
    """A kind that lets transformers run whatever a checkpoint brings, and hides the error if it must not."""

    card: ClassVar[KindCard] = KindCard(name="trusting", summary="a toy", source="none", example="none")

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        return "" if config["model_type"] == "own" else f"a {config['model_type']} model"

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        from transformers import AutoModel

        return AutoModel.from_pretrained(checkpoint.location, trust_remote_code=True)

    def load_tokenizer(self, checkpoint: Checkpoint) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(checkpoint.location, trust_remote_code=True)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the code of the checkpoint makes when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "modules"), *sys.path])
    yield tmp_path / "it-ran"
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, marker: Path) -> Path:
    """A checkpoint with code of its own for config, model and tokenizer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path / "own"
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    auto = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"}
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"model_type": "own", "auto_map": auto}))
    tokenizer = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def loaded_before_it_is_checked(folder: Path) -> Backbone:
    """The checkpoint, as if its code had come after it was found."""
    config = json.loads((folder / "config.json").read_text())
    return Backbone("mine", str(folder), None, config, Trusting())


def test_a_config_that_names_code_is_refused_before_anything_is_loaded(folder: Path, marker: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_backbone(str(folder), Trusting())
    assert str(caught.value) == (
        f"the model {str(folder)!r} brings Python code of its own, which smc-eval never runs (its "
        "config.json has auto_map = {'AutoConfig': 'own.OwnConfig', 'AutoModel': 'own.Own'})\n"
        "give a model of a type that transformers knows; if it is one, remove auto_map from a copy of it"
    )
    assert not marker.exists()


def test_a_tokenizer_that_names_code_is_refused_too(folder: Path, marker: Path) -> None:
    stored = json.loads((folder / "config.json").read_text())
    del stored["auto_map"]
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ModelError, match="its tokenizer_config.json has auto_map"):
        find_backbone(str(folder), Trusting())
    assert not marker.exists()


def test_a_kind_that_trusts_all_code_cannot_run_it(folder: Path, marker: Path) -> None:
    for load in (
        loaded_before_it_is_checked(folder).load,
        loaded_before_it_is_checked(folder).load_tokenizer,
    ):
        with pytest.raises(ModelError, match="'mine' brings Python code of its own, which smc-eval"):
            load()
    assert not marker.exists()


def test_a_task_that_runs_such_code_itself_is_refused_by_the_engine(folder: Path, marker: Path) -> None:
    class Careless(Toy):
        def model(self) -> nn.Module:
            return Trusting().load(loaded_before_it_is_checked(folder))

    with pytest.raises(PluginError, match="Careless made a net with Own, Python code of its checkpoint"):
        initial_model(Careless(), "start", Device("cpu", threads=1))
    assert marker.exists()  # a plugin can run anything; its number is refused
