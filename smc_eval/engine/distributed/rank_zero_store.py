"""Rank-zero store: rank 0 reads and writes the store; all ranks get the result, or the error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import Busy
from smc_eval.files.lease import POLLS
from smc_eval.score import Items
from smc_eval.store.mask_samples import MaskSample, MaskSamples
from smc_eval.store.masks import MaskFiles
from smc_eval.store.net_uses import NetUse, NetUses
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
from smc_eval.store.store import Note, Store
from smc_eval.store.stored_net import StoredNet

if TYPE_CHECKING:
    from torch import Tensor


class RankZeroStore(Store):
    """A store whose every read and write happens on rank 0. All ranks must make the same calls."""

    def __init__(self, store: Store, ranks: Ranks) -> None:
        super().__init__(store.folder)
        self._store, self._ranks = store, ranks
        self.records = RankZeroRecords(store.records, ranks)
        self.predictions = RankZeroPredictions(store.predictions, ranks)
        self.mask_samples = RankZeroMaskSamples(store.mask_samples, ranks)
        self.masks = RankZeroMasks(store.masks, ranks)
        self.net_uses = RankZeroUses(store.net_uses, ranks)

    def open(self) -> None:
        self._ranks.on_rank_zero(self._store.open)

    def check(self) -> None:
        self._ranks.on_rank_zero(self._store.check)

    def nets(self) -> set[str]:
        return self._ranks.on_rank_zero(self._store.nets)

    def finished(self, digest: str) -> bool:
        return self._ranks.on_rank_zero(lambda: self._store.finished(digest))

    def save(self, digest: str, net: StoredNet, *, stays: bool = False) -> None:
        self._ranks.on_rank_zero(lambda: self._store.save(digest, net, stays=stays))

    def load(self, digest: str) -> StoredNet | None:
        return self._ranks.on_rank_zero(lambda: self._store.load(digest))

    def drop(self, digest: str) -> None:
        self._ranks.on_rank_zero(lambda: self._store.drop(digest))

    def forget(self, digest: str) -> None:
        self._ranks.on_rank_zero(lambda: self._store.forget(digest))

    def save_partial(self, digest: str, content: Mapping[str, Any]) -> None:
        self._ranks.on_rank_zero(lambda: self._store.save_partial(digest, content))

    def load_partial(self, digest: str) -> dict[str, Any] | None:
        return self._ranks.on_rank_zero(lambda: self._store.load_partial(digest))

    def forget_partial(self, digest: str) -> None:
        self._ranks.on_rank_zero(lambda: self._store.forget_partial(digest))

    def save_grid(self, content: Mapping[str, Any]) -> None:
        self._ranks.on_rank_zero(lambda: self._store.save_grid(content))

    def saved_grid(self) -> dict[str, Any] | None:
        return self._ranks.on_rank_zero(self._store.saved_grid)

    def log(self, digest: str, text: str = "") -> Path:
        return self._ranks.on_rank_zero(lambda: self._store.log(digest, text))

    @contextmanager
    def lock(self, digest: str, note: Note, *, wait: bool = True) -> Iterator[None]:
        """The lock of any store. Rank 0 waits in short steps, so that the other ranks do not time out."""
        with ExitStack() as held:

            def take() -> bool:
                try:
                    held.enter_context(self._store.lock(digest, note, wait=False))
                except Busy:
                    return False
                return True

            noted = False
            while not self._ranks.on_rank_zero(take):
                if not wait:
                    raise Busy("another process works on it")
                if not noted:
                    note("waiting for another process that works on the same stage")
                    noted = True
                time.sleep(POLLS[1])
            yield


class RankZeroRecords(RecordsFile):
    """The records file of a rank-zero store."""

    def __init__(self, records: RecordsFile, ranks: Ranks) -> None:
        super().__init__(records.path.parent)
        self._records, self._ranks = records, ranks

    def latest(self) -> dict[str, Record]:
        latest, self.faults = self._ranks.on_rank_zero(lambda: (self._records.latest(), self._records.faults))
        return latest

    def get(self, digest: str) -> Record | None:
        return self._ranks.on_rank_zero(lambda: self._records.get(digest))

    def add(self, record: Record) -> None:
        self._ranks.on_rank_zero(lambda: self._records.add(record))


class RankZeroPredictions(Predictions):
    """The predictions of a rank-zero store."""

    def __init__(self, predictions: Predictions, ranks: Ranks) -> None:
        super().__init__(predictions.folder.parent)
        self._predictions, self._ranks = predictions, ranks

    def save(self, digest: str, predicted: Sequence[Any], items: Items | None) -> None:
        self._ranks.on_rank_zero(lambda: self._predictions.save(digest, predicted, items))

    def predicted(self, digest: str) -> list[Any] | None:
        return self._ranks.on_rank_zero(lambda: self._predictions.predicted(digest))

    def items(self, digest: str) -> Items | None:
        return self._ranks.on_rank_zero(lambda: self._predictions.items(digest))


class RankZeroMaskSamples(MaskSamples):
    """The mask samples of a rank-zero store."""

    def __init__(self, samples: MaskSamples, ranks: Ranks) -> None:
        super().__init__(samples.folder.parent)
        self._samples, self._ranks = samples, ranks

    def save(self, digest: str, mask_samples: Mapping[str, tuple[int, int, str]]) -> None:
        self._ranks.on_rank_zero(lambda: self._samples.save(digest, mask_samples))

    def load(self, digest: str) -> dict[str, MaskSample] | None:
        return self._ranks.on_rank_zero(lambda: self._samples.load(digest))


class RankZeroMasks(MaskFiles):
    """The whole masks of a rank-zero store."""

    def __init__(self, masks: MaskFiles, ranks: Ranks) -> None:
        super().__init__(masks.folder.parent)
        self._masks, self._ranks = masks, ranks

    def save(self, digest: str, masks: Mapping[str, Tensor]) -> None:
        self._ranks.on_rank_zero(lambda: self._masks.save(digest, masks))

    def load(self, digest: str) -> dict[str, Tensor] | None:
        return self._ranks.on_rank_zero(lambda: self._masks.load(digest))


class RankZeroUses(NetUses):
    """The net uses of a rank-zero store."""

    def __init__(self, uses: NetUses, ranks: Ranks) -> None:
        super().__init__(uses.folder.parent)
        self._uses, self._ranks = uses, ranks

    def save(self, start: str, use: NetUse) -> None:
        self._ranks.on_rank_zero(lambda: self._uses.save(start, use))

    def load(self, start: str) -> NetUse | None:
        return self._ranks.on_rank_zero(lambda: self._uses.load(start))

    def save_batch_effect(self, start: str, task: str, *, effect: bool) -> None:
        self._ranks.on_rank_zero(lambda: self._uses.save_batch_effect(start, task, effect=effect))

    def batch_effect(self, start: str, task: str) -> bool | None:
        return self._ranks.on_rank_zero(lambda: self._uses.batch_effect(start, task))
