"""Answers of a net in memory, through the model class of lm-eval."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from smc_eval.errors import DataError, TrainingError
from smc_eval_lm.lm_eval_documents import GENERATE, KINDS, LOGLIKELIHOOD, ROLLING, Document, Request
from smc_eval_lm.lm_eval_package import SHOT_SEED, as_its_command

if TYPE_CHECKING:
    from torch import nn

LONGEST_ANSWER = 256
"""Tokens that lm-eval lets a net write, where a task gives no number."""

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Settings of generation with the number of tokens, in the order in which lm-eval asks them."""


class InMemory:
    """A net as lm-eval calls it. It is no module, so lm-eval cannot tie its weights again."""

    def __init__(self, model: nn.Module) -> None:
        self.model = cast("Any", model)
        self.config, self.device = self.model.config, next(model.parameters()).device
        self.name_or_path = ""

    def __call__(self, ids_NL: Any) -> Any:
        return self.model(ids_NL)

    def generate(self, **settings: Any) -> Any:
        """What the net writes after each context."""
        return self.model.generate(**settings)


@dataclass(frozen=True)
class Answering:
    """How a net is asked."""

    tokenizer: Any
    batch: int = 1
    """Requests that share a forward pass."""
    max_length: int | None = None
    """Tokens that it reads at once; None: the positions of its config."""
    samples: bool = False
    """Whether it draws at random what it writes: then each document has a seed of its own."""

    def answers(self, model: nn.Module, documents: Sequence[Document]) -> list[dict[str, Any]]:
        """The answers of each document: `answers` for each request and repeat, and the number of `truncated`
        requests.

        Raises:
            DataError: an answer, or what is to be written, is longer than the net reads.
            TrainingError: log p is no number.
        """
        with as_its_command():
            harness = self._harness(model)
            truncated = [sum(_is_truncated(harness, one) for one in doc.requests) for doc in documents]
            with _named_faults(documents):
                found = self._found(harness, documents)
        return [{"answers": own, "truncated": count} for own, count in zip(found, truncated, strict=True)]

    def _harness(self, model: nn.Module) -> Any:
        import torch
        from lm_eval.models.huggingface import HFLM

        net = InMemory(model)
        mixed = torch.is_autocast_enabled(net.device.type)  # it would be turned off
        return HFLM(
            pretrained=net,
            tokenizer=_own(self.tokenizer),
            backend="causal",
            batch_size=self.batch,
            max_length=self.max_length,
            mixed_precision_dtype=torch.get_autocast_dtype(net.device.type) if mixed else None,
        )

    def _found(self, harness: Any, documents: Sequence[Document]) -> list[list[Any]]:
        if not self.samples:
            return _asked(harness, documents)
        return [found for document in documents for found in _asked_at_random(harness, document)]


@lru_cache(maxsize=4)
def _own(tokenizer: Any) -> Any:
    """A copy of a tokenizer: lm-eval may give it a token for padding."""
    return copy.deepcopy(tokenizer)


def _asked_at_random(harness: Any, document: Document) -> list[list[Any]]:
    """The answers of one document, drawn with a seed of its own."""
    import torch

    devices = [harness.device] if harness.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(SHOT_SEED + document.number)
        return _asked(harness, [document])


def _asked(harness: Any, documents: Sequence[Document]) -> list[list[Any]]:
    """For each document, for each request, the answers to its repeats."""
    found: dict[tuple[int, int], list[Any]] = {}
    for kind in KINDS:
        places = [
            (at, number)
            for at, document in enumerate(documents)
            for number, request in enumerate(document.requests)
            if request.kind == kind
            for _ in range(request.repeats)
        ]
        if not places:
            continue
        instances = [_instance(documents[at], number) for at, number in places]
        for place, answer in zip(places, getattr(harness, kind)(instances, disable_tqdm=True), strict=True):
            found.setdefault(place, []).append(_plain(kind, answer))
    return [
        [found[at, number] for number in range(len(document.requests))]
        for at, document in enumerate(documents)
    ]


def _instance(document: Document, number: int) -> Any:
    from lm_eval.api.instance import Instance

    request = document.requests[number]
    return Instance(
        request_type=request.kind,
        doc={},
        arguments=copy.deepcopy(request.arguments),
        idx=number,
        metadata=("", document.number, request.repeats),
    )


def _plain(kind: str, answer: Any) -> Any:
    """An answer as plain JSON.

    Raises:
        TrainingError: log p is no number.
    """
    if kind == GENERATE:
        return str(answer)
    log_p, greedy = answer if kind == LOGLIKELIHOOD else (answer, None)
    if math.isnan(log_p):
        raise TrainingError("the net gives an answer a log-probability that is no number")
    return float(log_p) if kind == ROLLING else [float(log_p), bool(greedy)]


def _is_truncated(harness: Any, request: Request) -> bool:
    """Whether lm-eval cuts the start of a request off, because it is longer than the net reads."""
    match request.kind:
        case "loglikelihood":
            context, answer = request.arguments[:2]
            if not context:
                return False
            return bool(len(harness.tok_encode(context + answer)) > harness.max_length + 1)
        case "generate_until":
            room = harness.max_length - longest_answer(request.settings)
            return bool(len(harness.tok_encode(request.arguments[0])) > room)
    return False  # a text is read in windows


def longest_answer(settings: Mapping[str, Any]) -> int:
    """The tokens that a task lets a net write."""
    given = (settings.get(name) for name in LENGTHS)
    return int(next((count for count in given if count is not None), LONGEST_ANSWER))


@contextmanager
def _named_faults(documents: Sequence[Document]) -> Iterator[None]:
    """Within: a check of lm-eval that fails becomes an error in words.

    Raises:
        DataError: one failed.
    """
    try:
        yield
    except AssertionError as error:
        numbers = f"document {documents[0].number + 1}" + " and others" * (len(documents) > 1)
        raise DataError(
            f"lm-eval cannot ask the net about {numbers}: an answer is empty, or longer than the net reads"
        ) from error
