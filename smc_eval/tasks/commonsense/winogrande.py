"""WinoGrande: sentences with a blank and two candidates, which a masked language model scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.errors import DataError, ModelError, first_line
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.spec import Outside
from smc_eval.task import Part, Sizes, Source
from smc_eval.tasks import backbone
from smc_eval.tasks.commonsense.json_rows import JsonRow, any_field, quoted_json, read_rows, text_field
from smc_eval.tasks.commonsense.multiple_choice import (
    CHOICE_ACCURACY,
    ROBERTA,
    MultipleChoice,
    as_tokenized,
    choice_card,
)
from smc_eval.tasks.commonsense.question import Blank
from smc_eval.tasks.folder import find_file
from smc_eval.tasks.hub import HUB, HubSet
from smc_eval.tasks.text_encoder import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.commonsense.spans import SpanReader

WINOGRANDE_COUNTS = {"xs": 160, "s": 640, "m": 2558, "l": 10_234, "xl": 40_398}
"""Published numbers of sentences of each training file."""

WINOGRANDE_SIZES = tuple(WINOGRANDE_COUNTS)

WINOGRANDE_NAME = "allenai/winogrande"
"""The copy on the hub. It has one configuration for each size; all have the same dev file."""

WINOGRANDE_ADDRESS = "https://storage.googleapis.com/ai2-mosaic/public/winogrande/winogrande_1.1.zip"

WINOGRANDE_NOTE = (
    f"one training file is read, by the option size; also on the hub, by --data-dir hub: {WINOGRANDE_NAME}"
)

WINOGRANDE_COLUMNS = ("sentence", "option1", "option2", "answer")

ANSWERS = ("1", "2")

TIE = -1
"""The prediction if both candidates have the same score."""


class WinoGrande(MultipleChoice):
    """WinoGrande: sentences with a blank and two candidates. Scores are those of the dev file.

    Span scoring: all tokens of a candidate are masked, and a masked language model scores it by the
    mean log-probability of these tokens. Ranking, as in Sakaguchi et al. (2020), is for models
    without a head for masked words: a new head scores each candidate, as for other multiple-choice
    tasks. The signature of the score names the method.
    """

    version: ClassVar[int] = 3  # before, `tiny` had dropout in its encoder
    card: ClassVar[TaskCard] = choice_card(
        "winogrande",
        "WinoGrande: which of two candidates fills the blank",
        "Sakaguchi et al., AAAI 2020, arXiv:1907.10641",
        licence="CC BY 4.0",
        chance=50.0,
    )
    tiny: ClassVar[Mapping[str, Any]] = {"steps": 60, "warmup": 5, "batch_size": 16, "lr": 1e-3}
    paper: ClassVar[Mapping[str, Any]] = {"ties": "count"}
    data_set: ClassVar[str] = "winogrande_1.1"
    recipe: Annotated[Recipe, Outside()] = Recipe(
        steps=23750,
        batch_size=32,
        bucket=50,
        eval_batch_size=32,
        schedule="linear",
        warmup=2375,
        **ROBERTA,
    )

    size: Literal["xs", "s", "m", "l", "xl"] = "xl"
    """The training file. The published recipe is for `xl`."""
    by: Literal["auto", "spans", "ranking"] = "auto"
    """How candidates are scored. `auto`: spans if the model has a head for masked words, else ranking."""
    ties: Literal["wrong", "count"] = "wrong"
    """Whether two equal scores are a wrong answer, or count as right, as in the official code."""

    @property
    def scored_by(self) -> Literal["spans", "ranking"]:
        """How candidates are scored with this model."""
        return _scoring(self.backbone) if self.by == "auto" else self.by

    def data_files(self) -> tuple[DataFile, ...]:
        names = [f"train_{size}.jsonl" for size in WINOGRANDE_SIZES] + ["dev.jsonl"]
        return tuple(
            DataFile(f"{self.data_set}/{name}", self.card.licence, WINOGRANDE_ADDRESS, note=WINOGRANDE_NOTE)
            for name in names
        )

    def sizes(self) -> Sizes:
        about = "Sakaguchi et al.; tokens of both candidates, measured"
        return Sizes(WINOGRANDE_COUNTS[self.size], 1267, 48, about)

    def files(self) -> tuple[Path, ...]:
        return self._file("train"), self._file("test")

    def sources(self) -> tuple[Source, ...]:
        if self.by == "spans" and _scoring(self.backbone) == "ranking":
            raise ModelError(
                f"the config.json of model {self.backbone!r} names no architecture ForMaskedLM, "
                "which span scoring needs; take winogrande:by=ranking"
            )
        return super().sources()

    def hub_sets(self) -> tuple[HubSet]:
        return (HubSet(WINOGRANDE_NAME, f"winogrande_{self.size}", WINOGRANDE_COLUMNS),)

    def data(self, part: Part) -> Sequence[Blank]:
        if self.folder == HUB:
            split = "train" if part == "train" else "validation"
            return list(islice(self.hub_sets()[0].read(split, lambda row: [parse_blank(row)]), self.limit))
        return read_rows(self._file(part), parse_blank)[: self.limit]

    def model(self) -> nn.Module:
        if self.scored_by == "ranking":
            return super().model()
        from smc_eval.tasks.commonsense.spans import SpanScorer

        return SpanScorer(self._spans.net.make())

    def collate(self, examples: Sequence[Any]) -> Any:
        return self._spans.batch(examples) if self.scored_by == "spans" else super().collate(examples)

    def length(self, example: Any) -> int:
        return self._spans.length(example) if self.scored_by == "spans" else super().length(example)

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Loss and outputs of one batch.

        Ranking: as for other multiple-choice tasks. Spans: the mean margin loss, and the
        log-probabilities [K, V] of the vocabulary at each masked position.
        """
        from smc_eval.tasks.commonsense.spans import Spans, margin_loss, mean_scores

        if not isinstance(batch, Spans):
            return super().loss_and_outputs(model, batch)
        logp_KV = model(batch)
        return margin_loss(mean_scores(logp_KV, batch), batch.answers_N), logp_KV

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        """Index of the candidate with the higher score; `TIE` if both are equal."""
        from smc_eval.tasks.commonsense.spans import Spans, mean_scores

        scores_N2 = mean_scores(model(batch), batch) if isinstance(batch, Spans) else model(batch)
        return [TIE if first == second else int(second > first) for first, second in scores_N2.tolist()]

    def score(self, predicted: Sequence[int], examples: Sequence[Blank]) -> Score:
        also_right = {TIE} if self.ties == "count" else set[int]()
        right = [
            choice in {blank.answer, *also_right} for choice, blank in zip(predicted, examples, strict=True)
        ]
        return accuracy(
            right, CHOICE_ACCURACY, f"accuracy|by:{self.scored_by}|train:{self.size}|ties:{self.ties}"
        )

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        if self.scored_by == "spans" and self.backbone != "tiny":
            return [name for name, _ in model.named_parameters()]  # the head is pretrained too
        return super().backbone_weights(model)

    def net_tokenizer(self) -> Any:
        return self._spans.net.tokenizer if self.scored_by == "spans" else super().net_tokenizer()

    def exclude(self, model: nn.Module) -> Collection[str]:
        return super().exclude(model) if self.scored_by == "ranking" else ()

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """Spans: the head for masked words, without the weights it shares with the embeddings."""
        if self.scored_by == "ranking":
            return ()
        base = {id(weight) for weight in cast("Any", model).net.base_model.parameters()}
        return [name for name, weight in model.named_parameters() if id(weight) not in base]

    def _file(self, part: str) -> Path:
        name = f"train_{self.size}" if part == "train" else "dev"
        try:
            return find_file(self.root, f"{self.data_set}/{name}.jsonl")
        except DataError as error:
            present = [size for size in WINOGRANDE_SIZES if self._has_file(f"train_{size}")]
            if part != "train" or not present:
                raise
            sizes = f"sizes in this folder: {', '.join(present)}; take winogrande:size={present[-1]}"
            raise DataError(f"{first_line(error)}\n{sizes}") from None

    def _has_file(self, name: str) -> bool:
        return any((self.root / self.data_set / f"{name}.jsonl{gz}").is_file() for gz in ("", ".gz"))

    @property
    def _spans(self) -> SpanReader:
        return _spans(as_tokenized(self))


@lru_cache(maxsize=16)
def _scoring(model_name: str) -> Literal["spans", "ranking"]:
    """The scoring that a model allows. Each batch needs it, so the config is read once a process."""
    return (
        "spans"
        if model_name == "tiny" or backbone.fills_masks(backbone.find_backbone(model_name, TextEncoder()))
        else "ranking"
    )


@lru_cache(maxsize=16)
def _spans(task: WinoGrande) -> SpanReader:
    """The reader of a task's sentences, made once a process."""
    from smc_eval.tasks.commonsense.spans import SpanReader
    from smc_eval.tasks.commonsense.text_nets import text_net

    def training_texts() -> Iterable[str]:
        return (
            blank.before + candidate + blank.after
            for blank in task.data("train")
            for candidate in blank.candidates
        )

    return SpanReader(text_net(task.backbone, training_texts, masked=True))


def parse_blank(row: JsonRow) -> Blank:
    """The sentence of a row of the official files or of the hub; a ValueError describes what is wrong."""
    sentence = text_field(row, "sentence")
    parts = sentence.split("_")
    if len(parts) != 2:
        raise ValueError(f"{len(parts) - 1} blanks `_` in {quoted_json(sentence)}; wanted one")
    first, second = text_field(row, "option1"), text_field(row, "option2")
    if first == second:
        raise ValueError(f"both options are {quoted_json(first)}; wanted two different ones")
    answer = any_field(row, "answer")
    if answer == "":
        raise ValueError("'answer' is empty, as in the official test file; wanted '1' or '2'")
    if answer not in ANSWERS:
        raise ValueError(f"'answer' is {quoted_json(answer)}; wanted '1' or '2'")
    return Blank(parts[0], parts[1], (first, second), ANSWERS.index(answer))
