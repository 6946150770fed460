"""The task class of multilingual translation, and its three tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.exported.manifest import built_form
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.task import BUILT_MODELS, Part, Sizes, Source, Task
from smc_eval.tasks import backbone
from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.hub import HUB
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.translation import opus, scoring
from smc_eval.tasks.translation.corpus import (
    CORPORA,
    PARTS,
    Sentence,
    Texts,
    balanced_counts,
    find_corpus,
    read_pairs,
    text_files,
    without_blanks,
)
from smc_eval.tasks.translation.kind import EncoderDecoder
from smc_eval.tasks.translation.languages import PIVOT, TEN, Direction, LanguagePairs, directions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.translation.codec import Codec, TextBatch

FAIRSEQ = Recipe(
    steps=40_000,
    warmup=2_500,
    schedule="inverse-sqrt",
    lr=3e-5,
    betas=(0.9, 0.98),
    eps=1e-6,
    batch_size=32,
    accumulation=2,
    tokens=1024,
    bucket=100,
    eval_batch_size=64,
)
"""Multilingual fine-tuning of mBART as in fairseq's documentation, to which SMC-Bench refers. A batch
is a number of sentences here, and a number of tokens there."""

TINY_TRANSLATION = {
    "steps": 120,
    "batch_size": 64,
    "accumulation": 1,
    "tokens": None,
    "bucket": 1,
    "lr": 4e-3,
    "betas": (0.9, 0.95),
    "schedule": "constant",
    "warmup": 5,
}
"""Training on synthetic data takes two or three seconds. With a shorter memory of squared gradients, the net
sooner finds the source."""


class Translation(Task):
    """Translation in many directions with one net.

    The net is trained on all directions together, and a token in each sentence names its language.
    Smaller directions are repeated, by temperature sampling. SMC-Bench names neither its languages nor
    its text; the default is the first N of fr, cs, de, gu, ja, my, ro, ru, vi, zh, from and to English.
    """

    version: ClassVar[int] = 3  # 2: batches are drawn by the lengths of both sides; 3: text is normalized
    tiny: ClassVar[Mapping[str, Any]] = TINY_TRANSLATION
    generates: ClassVar[bool] = True
    recipe: Recipe = FAIRSEQ

    languages: tuple[str, ...] = ()
    """Codes of the languages besides English, as in `[\"fr\",\"de\"]`."""
    pairs: LanguagePairs = "english"
    """`english`: directions from and to English. `all`: directions between any two languages."""
    corpus: str | None = None
    """Folder under `translation` in the data folder. None: the only one with these languages. The hub
    has OPUS-100."""
    sentences: int | None = Field(None, ge=1)
    """Number of training sentences of each direction, from the first one on. None: all."""
    temperature: float = Field(1.5, ge=1)
    """Sampling temperature of directions: 1 keeps their sizes, larger values make them more equal."""
    smoothing: float = Field(0.2, ge=0, lt=1)
    """Label smoothing."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of the net. None: 0.3, and 0 for `tiny` and `scratch`."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention weights. None: 0.1, and 0 for `tiny` and `scratch`."""
    beam: int = Field(5, ge=1)
    """Beam width: translations that are kept in parallel when predicting."""
    longest: int | None = Field(None, ge=4, le=500)
    """Maximal length of sources, targets and translations in tokens. None: 200, and 40 with `tiny`, whose
    nets rarely end a sentence."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction that is trained and scored."""
        return tuple(directions(self.languages, self.pairs))

    def data_files(self) -> tuple[DataFile, ...]:
        codes = ", ".join((PIVOT, *self.languages))
        files = f"train.XX and test.XX for {codes}, or train.XX-YY.XX, train.XX-YY.YY and so on"
        note = f"any parallel text: {files}; also on the hub, by --data-dir hub: {opus.OPUS_NAME}"
        path = f"{CORPORA}/{self.corpus}/" if self.corpus else f"{CORPORA}/"
        return (DataFile(path, self.card.licence, note=note),)

    def sizes(self) -> Sizes | None:
        """The sizes of OPUS-100: SMC-Bench names no text."""
        if self.corpus or self.pairs != "english":
            return None
        counts = {
            direction: min(opus.training_pairs(direction), self.sentences or opus.MAX_PAIRS)
            for direction in self.directions
        }
        train = sum(balanced_counts(counts, self.temperature).values())
        source = "OPUS-100, Zhang et al. (2020), assumed; tokens: 1024 assumed for a batch of 32 sentences"
        return Sizes(train, opus.TEST_PAIRS * len(counts), 32, source)

    @property
    def max_tokens(self) -> int:
        """Maximal length of a text in tokens."""
        return self.longest or (40 if built_form(self.backbone) == "tiny" else 200)

    def sources(self) -> tuple[Source, ...]:
        data = opus.opus_source(self.directions) if self.folder == HUB else self._source()
        return (
            (data,)
            if self.backbone in BUILT_MODELS
            else (data, backbone.find_backbone(self.backbone, EncoderDecoder()).source)
        )

    def data(self, part: Part) -> Sequence[Sentence]:
        most = self.sentences if part == "train" else None
        texts = {direction: sentences for direction, sentences, _ in self._read(part, most)}
        counts = {direction: len(sentences) for direction, sentences in texts.items()}
        if part == "train":
            counts = balanced_counts(counts, self.temperature)
        # directions alternate, so that `limit` keeps sentences of all of them
        rows = zip_longest(
            *(islice(cycle(sentences), counts[direction]) for direction, sentences in texts.items())
        )
        return [sentence for row in rows for sentence in row if sentence][: self.limit]

    def left_out(self, part: Part) -> int:
        """Pairs of all directions with a blank side."""
        most = self.sentences if part == "train" else None
        return sum(left_out for _, _, left_out in self._read(part, most))

    def content(self, example: Sentence) -> tuple[str, ...]:
        return str(example.direction), example.source

    def unknown_tokens(self, examples: Sequence[Sentence]) -> Mapping[str, float]:
        from smc_eval.tasks.translation.vocabulary import unknown_shares

        return unknown_shares(self._codec, examples)

    def ceiling(self, examples: Sequence[Sentence]) -> Mapping[str, float]:
        return scoring.ceilings(self._codec.rewritten, examples)

    def model(self) -> nn.Module:
        from smc_eval.tasks.translation.encoder_decoder import make_net

        built = built_form(self.backbone) is not None
        dropout = self.dropout if self.dropout is not None else None if built else 0.3
        attention = self.attention_dropout if self.attention_dropout is not None else None if built else 0.1
        return make_net(self.backbone, self._codec, dropout, attention)

    def length(self, example: Sentence) -> int:
        return max(self.side_lengths(example))

    def side_lengths(self, example: Sentence) -> tuple[int, int]:
        return self._codec.side_lengths(example)

    def loss_terms(self, example: Sentence) -> int:
        return len(self._codec.ids(example.target)) + 1

    def collate(self, examples: Sequence[Sentence]) -> TextBatch:
        return self._codec.batch(examples)

    def net_tokenizer(self) -> Any:
        return self._codec.tokenizer

    def loss(self, model: nn.Module, batch: TextBatch) -> Tensor:
        from torch.nn import functional as F

        logits_NTV = self._logits(model, batch)
        return F.cross_entropy(
            logits_NTV.flatten(0, 1).float(), batch.label_NT.flatten(), label_smoothing=self.smoothing
        )

    def loss_and_outputs(self, model: nn.Module, batch: TextBatch) -> tuple[Tensor, Tensor]:
        from torch.nn import functional as F

        real_NT = batch.label_NT >= 0
        logits_MV = self._logits(model, batch)[real_NT].float()
        loss = F.cross_entropy(logits_MV, batch.label_NT[real_NT], label_smoothing=self.smoothing)
        return loss, logits_MV.log_softmax(-1)

    def predict(self, model: nn.Module, batch: TextBatch) -> list[str]:
        from smc_eval.tasks.translation.beam_search import translate

        return [self._codec.text(ids) for ids in translate(cast("Any", model), batch, self._codec, self.beam)]

    def score(self, predicted: Sequence[str], examples: Sequence[Sentence]) -> Score:
        return scoring.score_directions(predicted, examples, self.beam)

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        return () if self.backbone in BUILT_MODELS else [name for name, _ in model.named_parameters()]

    def _logits(self, model: nn.Module, batch: TextBatch) -> Tensor:
        output = model(
            input_ids=batch.source_NS,
            attention_mask=batch.real_NS.long(),
            decoder_input_ids=batch.decoder_NT,
            use_cache=False,
        )
        return cast("Tensor", output.logits)

    def _source(self) -> Source:
        texts, directions = self._corpus(), self.directions
        files = [path for part in PARTS for direction in directions for path in texts(part, direction)]
        return Source("data", self.folder, content_digest(dict.fromkeys(files)))

    def _read(self, part: Part, most: int | None) -> Iterator[tuple[Direction, list[Sentence], int]]:
        """Each direction, its sentences, and the number of pairs that are left out."""
        texts = None if self.folder == HUB else self._corpus()
        for direction in self.directions:
            pairs = read_pairs(texts(part, direction)) if texts else opus.opus_pairs(direction, part)
            yield direction, *without_blanks(pairs, direction, most)

    def _corpus(self) -> Callable[[str, Direction], Texts]:
        """The files of each part and direction, in the corpus that has them all."""
        folder = synthetic_folder("translation") if self.folder == "synthetic" else Path(self.folder)
        corpus = find_corpus(folder, self.corpus, self.directions)

        def texts(part: str, direction: Direction) -> Texts:
            files = text_files(corpus, part, direction)
            assert files is not None, "a corpus has every direction"
            return files

        return texts

    @property
    def _codec(self) -> Codec:
        return _codec(self.replace(fold=None, limit=None, recipe=Recipe(steps=0)))


@lru_cache(maxsize=8)
def _codec(task: Translation) -> Codec:
    """The codec of a task, made once a process from all its training text, and checked.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer does not know a language.
    """
    from smc_eval.tasks.translation.encoder_decoder import make_codec
    from smc_eval.tasks.translation.vocabulary import check_vocabulary

    sentences = task.data("train")
    texts = (text for sentence in sentences for text in (sentence.source, sentence.target))
    codec = make_codec(task.backbone, texts, (PIVOT, *task.languages), task.max_tokens)
    for checked in () if built_form(task.backbone) else (sentences, task.data("test")):
        check_vocabulary(codec, checked, task.backbone)
    return codec


def _card(count: int) -> TaskCard:
    return TaskCard(
        name=f"translation/{count}-to-{count}",
        summary=f"translation between English and {count} languages, one net for all directions",
        source="SMC-Bench, arXiv:2303.02141, section 3; mBART: Liu et al. (2020), arXiv:2001.08210",
        groups=("translation",),
        metric=scoring.BLEU_METRIC,
        accepts=(EncoderDecoder.card.name, "scratch", "tiny"),
        published="facebook/mbart-large-cc25",
        licence="that of the text",
    )


class TwoToTwo(Translation):
    """Translation between English and 2 languages: French and Czech. One net serves all 4 directions."""

    card: ClassVar[TaskCard] = _card(2)
    languages: tuple[str, ...] = TEN[:2]
    """Codes of the languages besides English, as in `[\"fr\",\"de\"]`."""


class FiveToFive(Translation):
    """Translation between English and 5 languages: French, Czech, German, Gujarati and Japanese.

    One net serves all 10 directions.
    """

    card: ClassVar[TaskCard] = _card(5)
    languages: tuple[str, ...] = TEN[:5]
    """Codes of the languages besides English, as in `[\"fr\",\"de\"]`."""


class TenToTen(Translation):
    """Translation between English and 10 languages. One net serves all 20 directions.

    The languages are French, Czech, German, Gujarati, Japanese, Burmese, Romanian, Russian,
    Vietnamese and Chinese.
    """

    card: ClassVar[TaskCard] = _card(10)
    tiny: ClassVar[Mapping[str, Any]] = {**TINY_TRANSLATION, "steps": 140}
    languages: tuple[str, ...] = TEN
    """Codes of the languages besides English, as in `[\"fr\",\"de\"]`."""


TRANSLATION_TASKS = (TwoToTwo, FiveToFive, TenToTen)
