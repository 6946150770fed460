"""A kind of model and a task for smc-eval: causal language models, and the next letter of a rhyme."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval import (
    Form,
    KindCard,
    ModelKind,
    Part,
    Recipe,
    Score,
    Source,
    Task,
    TaskCard,
    TransformersKind,
    find_backbone,
    hookimpl,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

LETTERS = "abcdefghijklmnopqrstuvwxyz ."
WORDS = ("the cat sat", "on a mat", "and the rat ran", "to the hat", "a bat sang", "that was that")


class CausalLanguageModel(TransformersKind):
    """A decoder that predicts the next token from those before it."""

    card: ClassVar[KindCard] = KindCard(
        name="causal-lm",
        summary="predicts the next token from those before it, as GPT and Llama do",
        source="Radford et al. (2018), GPT; Touvron et al. (2023), arXiv:2302.13971",
        example="a folder of a LlamaForCausalLM, as save_pretrained writes it",
        builds=("tiny",),
    )
    auto: ClassVar[str] = "AutoModelForCausalLM"
    table: ClassVar[str] = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        if config.get("is_encoder_decoder"):
            return "an encoder-decoder"
        head = (config.get("architectures") or ["a model without a head"])[0]
        return "" if head.endswith(("ForCausalLM", "LMHeadModel")) else f"no causal language model ({head})"

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        """One token for each letter, besides padding and an unknown one."""
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        known = {token: number for number, token in enumerate(("<pad>", "<unk>", *LETTERS))}
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        if form != "tiny":
            raise self.builds_no(form)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=None,
        )
        return LlamaForCausalLM(config)


class NextLetter(Task):
    """The letters of made-up rhymes, one after the other; the score is the perplexity of a letter."""

    card: ClassVar[TaskCard] = TaskCard(
        name="next-letter",
        summary="perplexity of the letters of a rhyme",
        source="https://example.org/next-letter",
        metric="perplexity",
        chance=float(len(LETTERS)),
        accepts=("causal-lm", "tiny"),
        published="tiny",
    )
    recipe: Recipe = Recipe(steps=60, batch_size=8, lr=0.01)

    def sources(self) -> tuple[Source, ...]:
        data = Source("data", "synthetic", hashlib.sha256(b"next letter, version 1").hexdigest())
        if self.backbone == "tiny":
            return (data,)
        return (data, find_backbone(self.backbone, CausalLanguageModel()).source)

    def data(self, part: Part) -> Sequence[str]:
        pairs = [f"{first} {second}." for first in WORDS for second in WORDS]
        own = [text for number, text in enumerate(pairs) if (number % 4 == 3) == (part == "test")]
        return own[: self.limit]

    def model(self) -> nn.Module:
        kind = CausalLanguageModel()
        if self.backbone == "tiny":
            return kind.build("tiny", _tokenizer("tiny"))
        return find_backbone(self.backbone, kind).load()

    def net_tokenizer(self) -> Any:
        return _tokenizer(self.backbone)

    def collate(self, examples: Sequence[str]) -> dict[str, Tensor]:
        import torch

        ids = [_tokenizer(self.backbone)(text, verbose=False)["input_ids"] for text in examples]
        longest = max(map(len, ids))
        padding = _tokenizer(self.backbone).pad_token_id
        return {
            "ids": torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids]),
            "real": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
        }

    def length(self, example: str) -> int:
        return len(example)

    def loss_terms(self, example: str) -> int:
        return len(_tokenizer(self.backbone)(example, verbose=False)["input_ids"]) - 1

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        losses_NT, real_NT = self._losses(model, batch)
        return losses_NT[real_NT].mean()

    def predict(self, model: nn.Module, batch: Any) -> list[float]:
        losses_NT, real_NT = self._losses(model, batch)
        sums = (losses_NT * real_NT).sum(1) / real_NT.sum(1)
        return [round(value, 4) for value in sums.tolist()]

    def score(self, predicted: Sequence[float], examples: Sequence[str]) -> Score:
        mean = sum(predicted) / len(predicted)
        return Score(
            metric=self.card.metric,
            value=math.exp(mean),
            n=len(predicted),
            higher_is_better=False,
            signature="perplexity|by:letter|mean over texts of the mean over letters",
        )

    def _losses(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The loss of each letter but the first, and whether it is one."""
        from torch import nn

        logits_NTV = model(input_ids=batch["ids"], attention_mask=batch["real"], use_cache=False).logits
        targets_NT = batch["ids"][:, 1:]
        losses = nn.functional.cross_entropy(
            logits_NTV[:, :-1].flatten(0, 1).float(), targets_NT.flatten(), reduction="none"
        )
        return losses.view_as(targets_NT), batch["real"][:, 1:].bool()


@lru_cache(maxsize=8)
def _tokenizer(backbone: str) -> Any:
    """The tokenizer of a model, made once a process."""
    kind = CausalLanguageModel()
    return (
        kind.build_tokenizer("tiny", ())
        if backbone == "tiny"
        else find_backbone(backbone, kind).load_tokenizer()
    )


@hookimpl
def smc_eval_kinds() -> list[type[ModelKind]]:
    return [CausalLanguageModel]


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    return [NextLetter]
