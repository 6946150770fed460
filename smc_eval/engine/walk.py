"""The walk along a cell's chain: load the deepest finished link, carry out what is left, score."""

from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from smc_eval.cell import Chain, Link
from smc_eval.engine.feed import Feed, predict
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.store import Store
from smc_eval.engine.tally import Tally
from smc_eval.engine.train import train
from smc_eval.engine.watch import Watcher
from smc_eval.engine.world import World
from smc_eval.errors import SparsityError, StoreError, TrainingError
from smc_eval.results import Result, opened, scored
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.certificate import certify
from smc_eval.sparse.net import Net, state
from smc_eval.sparse.scope import in_scope, sparsities
from smc_eval.stages import Prune, Rewind, Train

VERSIONS = ("smc-eval", "torch", "transformers", "accelerate", "numpy")


@dataclass
class Walk:
    """One cell on its way: where it runs, what it may keep, and the net as it stands."""

    chain: Chain
    store: Store
    world: World
    watcher: Watcher
    keep: Collection[str] = ()
    """Digests whose nets stay in the store: other chains pass there, or a Rewind points there."""

    def run(self) -> Result:
        """Every link that is not finished yet, then the score."""
        self.tally, self.task = Tally(), self.chain.cell.task.trained_as()
        self.net = self._untrained()
        done = self._resume()
        for number, link in enumerate(self.chain.links[done:], done):
            with self.store.lock(link.digest, self.watcher):
                if not self._load(link.digest):
                    self._carry_out(link)
                    self._check(link)
                    self._save(link.digest)
            if number:
                self._drop(self.chain.links[number - 1].digest)
        result = self._result()
        if self.chain.links:
            self._drop(self.chain.links[-1].digest)
        return result

    def _untrained(self) -> Net:
        """The net before any training; its random parts come from the start digest."""
        self.world.seed(self.chain.start)
        model = self.task.model().to(self.world.device)
        return Net(model, in_scope(model, self.chain.cell.target.scope, self.task.spared(model)))

    def _resume(self) -> int:
        """Load the deepest finished link; returns how many links lie behind."""
        for number in range(len(self.chain.links), 0, -1):
            if self._load(self.chain.links[number - 1].digest):
                return number
        return 0

    def _load(self, digest: str) -> bool:
        """Take over a finished net with its masks and its history; False where there is none."""
        stored = self.store.load(digest)
        if stored is None:
            if self.store.finished(digest):
                self.watcher.note(f"the stored net {digest[:12]} is broken; computing it again", warning=True)
                self.store.forget(digest)
            return False
        tensors, masks, meta = stored
        self.net.masks = {name: mask.to(self.world.device) for name, mask in masks.items()}
        self.net.load(tensors)
        vars(self.tally).update(meta)
        self.net.changes, self.net.regrown = self.tally.changes, self.tally.regrown
        return True

    def _save(self, digest: str) -> None:
        self.tally.changes, self.tally.regrown = self.net.changes, self.net.regrown
        self.store.save(digest, state(self.net.model), self.net.masks, self.tally.as_meta())
        (self.store.folder / "partial" / digest).unlink(missing_ok=True)

    def _drop(self, digest: str) -> None:
        """Delete a net that only this cell passed by, to spare the disk."""
        if digest not in self.keep:
            self.store.forget(digest)

    def _carry_out(self, link: Link) -> None:
        match link.stage:
            case Train(recipe=recipe):
                assert recipe is not None
                feed = Feed(self.task, recipe, self.chain.start, self.world)
                train(self.net, link, feed, self.tally, self.world, self.store, self.watcher)
            case Prune() as stage:
                with self.tally.timed("prune"):
                    self._prune(stage, link.digest)
            case Rewind():
                assert link.back is not None
                self._rewind(link.back)

    def _prune(self, stage: Prune, digest: str) -> None:
        """Decide masks, in as many rounds of equal ratio as the stage asks."""
        self.watcher.stage(f"prune to {stage.to.sparsity:.4g}", stage.rounds, 0)
        self.world.seed(digest)
        feed = Feed(self.task, self.task.recipe, self.chain.start, self.world)
        probe = NetProbe(self.net, feed, digest, self.tally, self.world)
        for number in range(1, stage.rounds + 1):
            last = number == stage.rounds
            to = stage.to if last else stage.to.at(1 - stage.to.density ** (number / stage.rounds))
            self.net.wear(stage.by.prune(probe, to))
            self.watcher.step(number, 0.0)

    def _rewind(self, back: str) -> None:
        """The weights of an earlier point under the masks of now."""
        masks = self.net.masks
        if back == self.chain.start:
            weights = state(self._untrained().model)
        else:
            stored = self.store.load(back)
            if stored is None:
                for link in self.chain.links:
                    self.store.forget(link.digest)
                raise StoreError(
                    f"the net {back[:12]} to rewind to has left the store; issue the same command again"
                )
            weights = stored[0]
        self.net.masks = masks
        self.net.load(weights)

    def _check(self, link: Link) -> None:
        """A stage's promise, checked where it was made."""
        if isinstance(link.stage, Prune):
            alive = self.net.alive
            wanted = expected({name: tuple(mask.shape) for name, mask in alive.items()}, link.stage.to)
            left = sum(int(mask.sum()) for mask in alive.values())
            if left != wanted:
                raise SparsityError(
                    f"{link.stage.by.kind()} was asked to leave {wanted} weights "
                    f"(sparsity {link.stage.to.sparsity:.6g}) and left {left}"
                )
        for name, weight in self.net.model.named_parameters():
            if not bool(weight.isfinite().all()):
                raise TrainingError(
                    f"{name!r} holds values that are no numbers after {type(link.stage).__name__}"
                )

    def _result(self) -> Result:
        """Predict the reported split, score, certify."""
        cell, net = self.chain.cell, self.net
        examples = cell.task.data("test")
        self.watcher.stage(f"predict {len(examples)} examples", 1, 0)
        self.world.seed(self.chain.digest)
        with self.tally.timed("predict"):
            predicted = predict(cell.task, net.model, examples, cell.task.recipe, self.world)
            score = cell.task.score(predicted, examples)
        return scored(
            opened(cell, self.chain),
            score,
            sparsity=sparsities(net.model, net.masks, net.scope),
            certificate=certify(net, cell.target),
            cost=self._cost(),
            versions=versions() | self.world.words,
        )

    def _cost(self) -> dict[str, Any]:
        cost = self.tally.as_meta()
        del cost["changes"], cost["regrown"]  # the certificate has them
        return cost | {"peak_memory_mb": round(self.world.peak_memory() / 2**20)}


def versions() -> dict[str, Any]:
    """Versions of what the numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"deterministic": str(torch.are_deterministic_algorithms_enabled())}
