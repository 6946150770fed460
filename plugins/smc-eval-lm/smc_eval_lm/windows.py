"""Windows of a text: the tokens that a net reads at once, and those of them that are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.errors import DataError
from smc_eval_lm.tokens import Tokens


@dataclass(frozen=True)
class Window:
    """Tokens that a net reads at once."""

    ids: tuple[int, ...]
    first: int = 1
    """Place of the first token that is scored; those before it are its context."""
    bytes: int = 0
    """Bytes of the scored tokens."""

    @property
    def scored(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.first


def training_windows(texts: Sequence[Tokens], width: int, begin: int | None) -> list[Window]:
    """Windows of `width` tokens that follow each other, without overlap and without padding.

    What is left at the end of a text is dropped. `begin` is a token before each window; it counts as one of
    the window's tokens.
    """
    own = width - (begin is not None)
    lead = () if begin is None else (begin,)
    return [
        Window((*lead, *tokens.ids[start : start + own]))
        for tokens in texts
        for start in range(0, len(tokens.ids) - own + 1, own)
    ]


def scored_windows(tokens: Tokens, width: int, stride: int | None, begin: int | None) -> Iterator[Window]:
    """Windows of `width` tokens, each `stride` tokens after the last one; None: as many as it reads.

    Each token is scored once: in the first window that also holds the token before it. Without overlap and
    without `begin`, the first token of a window is not scored, as in the published perplexities. What is left
    at the end, shorter than a window or than a stride, is dropped.
    """
    own = width - (begin is not None)
    lead = () if begin is None else (begin,)
    step, scored = stride or own, 0
    for start in range(0, len(tokens.ids) - own + 1, step):
        # a token without one before it in the window cannot be predicted
        first = max(scored, start if lead else start + 1)
        scored = start + own
        if first < scored:
            yield Window(
                (*lead, *tokens.ids[start:scored]),
                first - start + len(lead),
                tokens.bytes_of(first, scored),
            )


def check_length(name: str, texts: Sequence[Tokens], width: int, begin: int | None, option: str) -> None:
    """Refuse a text that has no window.

    Raises:
        DataError: it has no token, one token, or fewer tokens than a window.
    """
    longest, own = max((len(tokens.ids) for tokens in texts), default=0), width - (begin is not None)
    if longest <= 1 and longest < own:
        raise DataError(
            f"the text {name!r} has {longest} token{'s' * (longest != 1)}, so there is none to be predicted "
            "from another; give a longer text"
        )
    if longest < own:
        raise DataError(
            f"the text {name!r} has {longest} tokens, and a window takes {own} of them; "
            f"give a longer text, or {option}={longest + (begin is not None)} or less"
        )
