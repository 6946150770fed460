"""The contract of kinds of model: promises that every kind must keep, built-in or from a plugin."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from smc_eval.errors import ModelError, PluginError
from smc_eval.kind import SPECIMENS, Form, ModelKind, reason_of_kind
from smc_eval.tasks.backbone import Backbone, find_backbone
from smc_eval.testing.cell_runs import assert_equal
from smc_eval.testing.promise import refusal

TEXTS = ("the first text", "and another one")
"""What tokenizers of nets without a checkpoint are trained on."""

REMOTE = "import pathlib; pathlib.Path({path!r}).touch()\nclass Own:\n    pass\n"


class KindContract:
    """Promises that every kind must keep. Subclass it in a test module, set `kind`, and write `save`."""

    kind: ModelKind

    def save(self, folder: Path) -> None:
        """Write a small checkpoint of this kind into an empty folder, as its users have them."""
        raise NotImplementedError

    def saved(self, tmp_path: Path) -> Path:
        """A folder with a small checkpoint of this kind."""
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        torch.manual_seed(0)
        self.save(folder)
        return folder

    def checkpoint(self, folder: Path) -> Backbone:
        """The checkpoint of a folder, found as this kind."""
        return find_backbone(str(folder), self.kind)

    def test_it_claims_not_every_model(self) -> None:
        reasons = [reason_of_kind(self.kind, config, None) for config in SPECIMENS.values()]
        assert any(reasons), f"it claims all of these: {', '.join(SPECIMENS)}"
        assert all(reason[:1] == reason[:1].lower() for reason in reasons), (
            "a reason follows `the model … is`, so it begins with a small letter"
        )

    def test_its_own_checkpoint_is_recognised_whatever_its_name(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        digest = self.checkpoint(folder).source.digest
        assert digest == self.checkpoint(folder).source.digest, "its digest differs the second time"
        moved = folder.rename(folder.parent / "gpt-roberta-t5-esm")
        assert self.checkpoint(moved).source.digest == digest, "its digest depends on the name of its folder"

    def test_other_weights_have_another_digest(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        before = self.checkpoint(folder).source.digest
        (path,) = (path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})
        path.write_bytes(path.read_bytes() + b" ")
        with suppress(ModelError):  # to refuse the longer file is right as well
            assert self.checkpoint(folder).source.digest != before, "other weights have the same digest"

    def test_a_config_without_a_type_is_refused(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        (folder / "config.json").write_text("{}")
        with refusal(ModelError, "names no model_type", "a config without a model_type is accepted"):
            self.checkpoint(folder)

    def test_its_net_is_loaded_the_same_each_time_in_fp32(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        nets = [self.checkpoint(folder).load() for _ in range(2)]
        states = [dict(net.state_dict()) for net in nets]
        assert_equal(states[:1], states[1:])
        for name, weight in nets[0].named_parameters():
            assert weight.dtype == torch.float32, f"{name} is {weight.dtype}"
            assert not weight.is_meta and bool(weight.isfinite().all()), f"{name} was not loaded"
        assert any(weight.requires_grad for weight in nets[0].parameters()), "no parameter can be trained"

    def test_its_tokenizer_is_loaded_or_there_is_none(self, tmp_path: Path) -> None:
        self.checkpoint(self.saved(tmp_path)).load_tokenizer()

    def test_weights_that_are_missing_or_cut_short_are_refused(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        (path,) = (path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with refusal(ModelError, "", "half a file of weights is loaded without an error"):
            self.checkpoint(folder).load()
        path.unlink()
        with refusal(ModelError, "", "a checkpoint without weights is loaded without an error"):
            self.checkpoint(folder).load()
        with refusal(ModelError, "", "a checkpoint without weights has a source"):
            _ = self.checkpoint(folder).source

    def test_code_of_a_checkpoint_is_refused_and_never_run(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        marker, path = tmp_path / "it-ran", folder / "config.json"
        (folder / "own.py").write_text(REMOTE.format(path=str(marker)))
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "own.Own")
        path.write_text(json.dumps(config | {"auto_map": own}))
        with refusal(ModelError, "brings Python code of its own", "a checkpoint with code is accepted"):
            self.checkpoint(folder)
        assert not marker.exists(), "code of the checkpoint was run"

    def test_it_builds_the_forms_of_its_card_and_no_others(self) -> None:
        for form in get_args(Form):
            if form not in self.kind.card.builds:
                otherwise = f"it builds the form {form!r}, which its card does not name"
                with refusal((PluginError, ModelError, KeyError), "", otherwise):
                    self._built(form)
                continue
            first, second = self._built(form), self._built(form)
            assert list(first.parameters()), f"the net of {form!r} has no parameters"
            assert_equal([dict(first.state_dict())], [dict(second.state_dict())])

    def _built(self, form: Form) -> nn.Module:
        tokenizer = self.kind.build_tokenizer(form, TEXTS)
        torch.manual_seed(0)
        return self.kind.build(form, tokenizer)
