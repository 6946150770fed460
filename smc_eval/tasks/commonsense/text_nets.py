"""Nets that read text: which tokenizer cuts it, how many tokens a net reads, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone, pretrained, tiny


@dataclass(frozen=True)
class TextNet:
    """A tokenizer, and the net that goes with it."""

    name: str
    """As the user named it."""
    tokenizer: Any
    longest: int | None
    """Tokens that the net has positions for; None where it needs none."""
    make: Callable[[], nn.Module]
    """The net before any training here; random parts draw from torch's global generator."""

    @property
    def padding(self) -> int:
        """Id of what fills up a batch.

        Raises:
            ModelError: the tokenizer has none.
        """
        return self._token("pad", "which batches are filled up with")

    @property
    def mask(self) -> int:
        """Id of what stands for a hidden token.

        Raises:
            ModelError: the tokenizer has none.
        """
        return self._token("mask", "which stands for what is to be filled in")

    def _token(self, kind: str, use: str) -> int:
        found: int | None = getattr(self.tokenizer, f"{kind}_token_id")
        if found in (None, self.tokenizer.unk_token_id):  # a name that its vocabulary does not hold
            raise ModelError(
                f"the tokenizer of {self.name!r} has no {kind} token, {use}; "
                f"name the one that the model was trained with as {kind}_token in its tokenizer_config.json"
            )
        return found


def encoder_net(word: str, texts: Callable[[], Iterable[str]]) -> TextNet:
    """The text encoder that `--model` names; `texts` are what the tokenizer of `tiny` learns from.

    Raises:
        ModelError: it names a checkpoint that cannot be had or has no fit tokenizer.
    """
    if word == "tiny":
        tokenizer = tiny.tiny_tokenizer(texts())
        return TextNet(word, tokenizer, tiny.POSITIONS, lambda: _tiny_encoder(len(tokenizer)))
    found = backbone.find_backbone(word)
    reads = pretrained.positions_of(found)
    return TextNet(word, pretrained.load_tokenizer(found), reads, lambda: pretrained.load_encoder(found))


def masked_net(word: str, texts: Callable[[], Iterable[str]]) -> TextNet:
    """The same with a head that fills in masked words.

    Raises:
        ModelError: as for `load_encoder`.
    """
    if word == "tiny":
        tokenizer = tiny.tiny_tokenizer(texts(), mask=True)
        return TextNet(word, tokenizer, tiny.POSITIONS, lambda: _tiny_masked_model(len(tokenizer)))
    found = backbone.find_backbone(word)
    reads = pretrained.positions_of(found)
    return TextNet(word, pretrained.load_tokenizer(found), reads, lambda: pretrained.load_masked_model(found))


def _tiny_encoder(tokens: int) -> nn.Module:
    from transformers import RobertaModel

    return RobertaModel(tiny.tiny_config(tokens), add_pooling_layer=False)


def _tiny_masked_model(tokens: int) -> nn.Module:
    from transformers import RobertaForMaskedLM

    return RobertaForMaskedLM(tiny.tiny_config(tokens))
