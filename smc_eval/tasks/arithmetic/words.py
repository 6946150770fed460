"""Text encoders: from words to a vector for each token, trained from scratch or pretrained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from smc_eval.errors import DataError
from smc_eval.tasks.arithmetic.encoding import Tokenize, Tokens

TINY_VOCABULARY = 600
"""Sub-words of the tokenizer that a tiny encoder is given."""


class TrainedWords(nn.Module):
    """Word embeddings that the task trains, with dropout, as GTS has them."""

    def __init__(self, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=0)
        self.drop = nn.Dropout(dropout)
        self.width = width

    def forward(self, tokens_NS: Tensor, real_NS: Tensor) -> Tensor:
        """[N, S, width]"""
        made: Tensor = self.drop(self.table(tokens_NS))
        return made


class Encoder(nn.Module):
    """The last hidden states of a transformer, all of it trained."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model, self.width = model, width

    def forward(self, tokens_NS: Tensor, real_NS: Tensor) -> Tensor:
        """[N, S, width]"""
        states: Tensor = self.model(input_ids=tokens_NS, attention_mask=real_NS.long()).last_hidden_state
        return states


def by_subword(tokenizer: Any, longest: int | None = None) -> Tokenize:
    """Tokens of the words joined by blanks, and each word's first token.

    Every number is the word NUM here, and a word may be cut up: a number's position is its first
    sub-word, not its word's index (PROTOCOL Q-A2).
    """

    def tokenize(words: Sequence[str]) -> Tokens:
        text = " ".join(words)
        made = tokenizer(text, return_offsets_mapping=True)
        ids: list[int] = list(made["input_ids"])
        if longest is not None and len(ids) > longest:
            raise DataError(f"a question of {len(ids)} tokens is longer than the model's {longest}: {text[:60]!r}…")
        place, start = [], 0
        tokens = [(at, *span) for at, span in enumerate(made["offset_mapping"]) if span[0] < span[1]]
        for word in words:
            place.append(next(at for at, first, end in tokens if end > start and first < start + len(word)))
            start += len(word) + 1
        return ids, place

    return tokenize


def tiny_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE of RoBERTa's form, trained on these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def tiny_encoder(vocabulary: int) -> nn.Module:
    """A RoBERTa of two layers of width 128, drawn afresh."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=514,
        pad_token_id=1,
    )
    return RobertaModel(config, add_pooling_layer=False)
