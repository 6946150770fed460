"""The task `lm-eval`: any task of lm-evaluation-harness, on a net in memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.errors import ModelError, UsageError
from smc_eval.files.user_path import user_path
from smc_eval.kind import form_of
from smc_eval.score import Score
from smc_eval.spec import digest
from smc_eval.task import Part, Source
from smc_eval_lm.lm_eval_answers import Answering, longest_answer
from smc_eval_lm.lm_eval_documents import GENERATE, ROLLING, Asked, Document, Evaluation
from smc_eval_lm.lm_eval_loading import evaluation
from smc_eval_lm.lm_eval_names import folder_of
from smc_eval_lm.lm_eval_package import SHOT_SEED, check_version
from smc_eval_lm.lm_eval_score import Measure, scored
from smc_eval_lm.model_kind import CausalLanguageModel
from smc_eval_lm.tokens import checkpoint_of
from smc_eval_lm.training import USUAL_WINDOW, LanguageModelling

if TYPE_CHECKING:
    from torch import Tensor, nn

from dataclasses import replace


@dataclass(frozen=True)
class DocumentBatch:
    """Documents, and the text of the first request of each. N documents, L tokens."""

    documents: tuple[Document, ...]
    ids_NL: Tensor
    real_NL: Tensor
    """Which tokens are not padding."""


class LmEval(LanguageModelling):
    """A task of lm-evaluation-harness, asked and scored by lm-eval itself."""

    card: ClassVar[TaskCard] = TaskCard(
        name="lm-eval",
        summary="any task of lm-evaluation-harness: lm-eval:task=hellaswag,shots=0",
        source="lm-evaluation-harness 0.4.13, https://github.com/EleutherAI/lm-evaluation-harness",
        by_name=True,
        metric="",
        accepts=(CausalLanguageModel.card.name, "tiny", "scratch"),
        published="facebook/opt-125m",
        licence="that of the task's data",
    )
    generates: ClassVar[bool] = True

    task: str = ""
    """Name of the task, as `lm_eval ls tasks` shows it."""
    shots: int | None = Field(None, ge=0)
    """Solved documents before each question. None: the task's own number."""
    include: str | None = None
    """Folder with the task as a YAML file of lm-eval: in the data folder, or a path."""
    code: bool = False
    """Let the task of that folder run Python code of its own, as lm-eval does."""
    metric: str | None = None
    """Metric of the score; the others stand beside it. None: the first of the task."""
    filter: str | None = None
    """Filter of the answers, for tasks with several. None: the first of the task."""
    chat: bool = False
    """Put questions into the chat template of the tokenizer."""
    max_length: int | None = Field(None, ge=2)
    """Tokens that the net reads at once, as `max_length` of lm-eval. None: the positions of the model."""
    batch: int = Field(1, ge=1)
    """Requests that share a forward pass. With 1, nothing is padded: the digits are those of lm-eval's
    command with its batch size of 1."""

    def sources(self) -> tuple[Source, ...]:
        found = self._evaluation
        Measure.of(found, self.metric, self.filter)
        self._refuse_misfit(found)
        place = self.folder if self._is_in_data_folder else f"lm-eval:{self.task}"
        return (Source("data", place, found.digest, trained=False), *super().sources())

    def data(self, part: Part) -> Sequence[Any]:
        return super().data(part) if part == "train" else self._evaluation.documents[: self.limit]

    def collate(self, examples: Sequence[Any]) -> Any:
        if not isinstance(examples[0], Document):
            return super().collate(examples)
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows = [torch.tensor(self._ids(document)) for document in examples]
        real = [torch.ones_like(ids_L, dtype=torch.bool) for ids_L in rows]
        return DocumentBatch(
            tuple(examples), pad_sequence(rows, batch_first=True), pad_sequence(real, batch_first=True)
        )

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if isinstance(batch, DocumentBatch):
            return self.loss_and_outputs(model, batch)[0]
        return super().loss(model, batch)

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        if not isinstance(batch, DocumentBatch):
            return super().loss_and_outputs(model, batch)
        from torch.nn import functional as F

        found = model(input_ids=batch.ids_NL, attention_mask=batch.real_NL.long(), use_cache=False).logits
        real_NL = batch.real_NL[:, 1:]
        log_MV = found[:, :-1][real_NL].float().log_softmax(-1)
        return F.nll_loss(log_MV, batch.ids_NL[:, 1:][real_NL]), log_MV

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """The answers of each document, and how many of its requests lost their start."""
        return self._answering.answers(model, batch.documents)

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        found = self._evaluation
        measure = Measure.of(found, self.metric, self.filter)
        truncated = sum(one["truncated"] for one in predicted)
        asked = sum(len(example.requests) for example in examples)
        signature = self._signature(found, measure, truncated, asked)
        return replace(scored(found, measure, predicted, examples), signature=signature)

    def length(self, example: Any) -> int:
        if not isinstance(example, Document):
            return super().length(example)
        texts = [request.text for request in example.requests]
        return sum(len(self.tokenizer(text, verbose=False)["input_ids"]) for text in texts) + 1

    def loss_terms(self, example: Any) -> int:
        return len(self._ids(example)) - 1 if isinstance(example, Document) else super().loss_terms(example)

    def content(self, example: Any) -> Hashable:
        return example.question if isinstance(example, Document) else super().content(example)

    @property
    def _evaluation(self) -> Evaluation:
        """The task of lm-eval with its documents."""
        check_version()
        folder = folder_of(self.include, self.folder) if self.include is not None else None
        return evaluation(Asked(self.task, folder, self.shots, self.code, self.limit, self._chat_tokenizer))

    @property
    def _chat_tokenizer(self) -> Any:
        """The tokenizer, if its chat template is asked for.

        Raises:
            ModelError: it has none.
        """
        if not self.chat:
            return None
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"chat=true: the tokenizer of {self.backbone!r} has no chat template; "
                "leave out chat, or give a model that was trained to chat"
            )
        return self.tokenizer

    @property
    def _answering(self) -> Answering:
        return Answering(self.tokenizer, self.batch, self.max_length, self._evaluation.samples)

    @property
    def _is_in_data_folder(self) -> bool:
        """Whether `include` lies in the data folder."""
        if self.include is None or user_path(self.include).is_absolute():
            return False
        return (user_path(self.folder) / self.include).is_dir()

    @property
    def _window(self) -> int:
        """The longest text that the net reads, in tokens, as lm-eval finds it in the config."""
        if self.max_length or form_of(self.backbone):
            return self.max_length or self.positions or USUAL_WINDOW
        from lm_eval.models.utils import resolve_max_length

        config = checkpoint_of(self.backbone).config
        inner = config.get("text_config")
        text = SimpleNamespace(**inner) if isinstance(inner, Mapping) else None
        return int(resolve_max_length(SimpleNamespace(**{**config, "text_config": text}), self.tokenizer))

    def _ids(self, document: Document) -> list[int]:
        """The end of the text of a document's first request, after the token that begins a text."""
        ids = self.tokenizer(document.requests[0].text, add_special_tokens=False, verbose=False)["input_ids"]
        first = self._first_token
        return [first, *(ids or [first])[1 - min(self._window, USUAL_WINDOW) :]]

    @property
    def _first_token(self) -> int:
        """The token that lm-eval puts before a text without one.

        Raises:
            ModelError: the tokenizer has none.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ModelError(
            f"the tokenizer of {self.backbone!r} has no token that begins or ends a text; lm-eval needs one"
        )

    def _refuse_misfit(self, found: Evaluation) -> None:
        """Refuse a model that cannot be asked the questions of a task.

        Raises:
            ModelError: its tokenizer has no token that begins or ends a text, or it has too few positions.
            UsageError: `max_length` is larger than its positions.
        """
        self._first_token  # noqa: B018  it raises
        positions, window = self.positions, self._window
        if positions is not None and window > positions:
            raise UsageError(
                f"max_length={window} is longer than the {positions} positions of the model "
                f"{self.backbone!r}; give {positions} or less"
            )
        if GENERATE not in found.kinds:
            return
        if self.tokenizer.eos_token_id is None:
            raise ModelError(
                f"the tokenizer of {self.backbone!r} has no token that ends a text; "
                "lm-eval needs one to generate"
            )
        longest = max(longest_answer(one.settings) for one in found.requests if one.kind == GENERATE)
        if longest >= window:
            raise ModelError(
                f"the task {self.task!r} lets the net write {longest} tokens, and {self.backbone!r} reads "
                f"{window}, question and answer together; take a larger model"
            )

    def _signature(self, found: Evaluation, measure: Measure, truncated: int, asked: int) -> str:
        parts: dict[str, object] = {
            "task": self.task,
            "version": found.version,
            "shots": found.shots,
            "metric": measure.metric,
            "filter": measure.filter,
            "tokenizer": tokenizer_digest(self.tokenizer)[:8],
        }
        if found.shots != "0":
            parts["seed"] = SHOT_SEED
        if self.chat:
            parts["chat"] = digest(str(self.tokenizer.chat_template))[:8]
        if found.kinds & {ROLLING} or truncated:
            parts["window"] = self._window
        if truncated:
            parts["truncated"] = f"{truncated}/{asked}"
        if found.samples:
            parts["sampled"] = f"seed {SHOT_SEED} + document"
        if self.batch > 1:
            parts["batch"] = self.batch
        return "|".join([f"lm-eval:{found.package}", *(f"{name}:{value}" for name, value in parts.items())])


@lru_cache(maxsize=4)
def tokenizer_digest(tokenizer: Any) -> str:
    """A digest of what a tokenizer makes of any text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    form = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    special: Mapping[str, Any] = tokenizer.special_tokens_map
    return digest(type(tokenizer).__name__, str(form), {name: str(token) for name, token in special.items()})
