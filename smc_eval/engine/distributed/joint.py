"""What ranks have in common: a net that all wear alike, and a store that the first of them keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from torch import Tensor, nn

from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import Busy
from smc_eval.sparse.net import Net
from smc_eval.store.lease import POLLS
from smc_eval.store.mask_samples import MaskSamples
from smc_eval.store.masks import MaskFiles
from smc_eval.store.predictions import Predictions
from smc_eval.store.records import Book
from smc_eval.store.store import Note, Store


class JointNet(Net):
    """A rank's copy of a net: the first rank's masks are worn by all, and all look whether they are."""

    def __init__(self, model: nn.Module, scope: Sequence[str], ranks: Ranks) -> None:
        super().__init__(model, scope)
        self.ranks = ranks

    def agreed(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        self.ranks.share(masks[name] for name in self.scope)
        return masks

    def set_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put on what the first rank decided.

        Raises:
            SparsityError: a rank wears something else.
        """
        grown = super().set_masks(masks)
        self.ranks.same("masks", self.masks)
        return grown

    def all_reduce(self, mean: float) -> float:
        return self.ranks.reduce(self.model, mean)

    def summed(self) -> dict[str, Tensor]:
        gradients = self.gradients
        self.ranks.add(gradients.values())
        return gradients


class RankZeroStore:
    """A store, or a part of one, that the first rank reads and writes; all hear what came of it."""

    def __init__(self, kept: Any, ranks: Ranks) -> None:
        self._kept, self._ranks = kept, ranks

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kept, name)
        if isinstance(found, Book | Predictions | MaskFiles | MaskSamples):
            return RankZeroStore(found, self._ranks)
        if not callable(found):
            return found
        return lambda *told, **more: self._ranks.lead(lambda: found(*told, **more))

    @contextmanager
    def lock(self, digest: str, note: Note, *, wait: bool = True) -> Iterator[None]:
        """Hold a cell or stage; while another process does, no rank waits for long without a word."""
        with ExitStack() as held:

            def take() -> bool:
                try:
                    held.enter_context(self._kept.lock(digest, note, wait=False))
                except Busy:
                    return False
                return True

            told = False
            while not self._ranks.lead(take):
                if not wait:
                    raise Busy("another process works on it")
                if not told:
                    note("waiting for another process that works on the same stage")
                    told = True
                time.sleep(POLLS[1])
            yield


def rank_zero_store(store: Store, ranks: Ranks) -> Store:
    """A store as ranks share it: nobody but the first looks at the disk or writes there."""
    return store if ranks.size == 1 else cast("Store", RankZeroStore(store, ranks))
