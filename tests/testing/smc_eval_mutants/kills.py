"""The list of mutants, each with the promise that kills it, and the list of correct variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smc_eval.method import Method
from smc_eval.optimizer import Optimizer
from smc_eval.spec import Spec
from smc_eval.task import Task
from smc_eval.testing import MethodContract, OptimizerContract, Promise, TaskContract
from smc_eval_mutants import correct, methods, optimizers, tasks, updaters
from smc_eval_mutants.methods import Pruning, PruningOnce
from smc_eval_mutants.updaters import Updating

CONTRACTS: dict[str, tuple[type[Any], type[Spec]]] = {
    "method": (MethodContract, Method),
    "task": (TaskContract, Task),
    "optimizer": (OptimizerContract, Optimizer),
}
"""Contracts by what they are the contract of."""


def contract_of(subject: Spec, **members: object) -> Any:
    """The contract of a method, a task or an optimizer, to check its promises one by one."""
    (noun, (contract, _)) = next(item for item in CONTRACTS.items() if isinstance(subject, item[1][1]))
    return type("ContractOfOne", (contract,), {noun: subject, "__module__": __name__, **members})()


@dataclass(frozen=True)
class Kill:
    """A mutant and the promise that kills it."""

    mutant: Spec
    """The method, task or optimizer that is checked."""
    wrong: type[Spec]
    """The class that is wrong: the mutant's own, or that of its pruner or updater."""
    words: str
    """The promise, by its words."""
    reason: str
    """A part of the counter-example."""
    more: tuple[str, ...] | None = ()
    """Further promises that it breaks; None where it breaks most of those that run it."""

    @property
    def promise(self) -> Promise:
        """The promise that it breaks."""
        return Promise(f"test_{self.words.replace(' ', '_')}")

    @property
    def does(self) -> str:
        """What is wrong, in words."""
        return (self.wrong.__doc__ or "").partition("\n")[0].strip()

    @property
    def noun(self) -> str:
        """Of what it is a mutant."""
        return next(noun for noun, (_, kind) in CONTRACTS.items() if isinstance(self.mutant, kind))


MET = "the target is met exactly"
ANNOUNCED = "its updaters announce their densities and gradient steps"
PARTS = "it decides the same when a batch is cut into parts"
LEAVES = "its updaters leave weights and momentum to the engine"
COMPUTES = "its plan computes nothing"
PLANS = "its plan is the same each time"
EQUAL = "two runs are equal bit for bit"
RESUMED = "an interrupted run ends like an uninterrupted one"
DATA = "its data is the same each time and for every seed"
COUNTED = "the score counts every example"
HELD = "its score is a number that a record can hold"
ORDER = "the score does not depend on the order of the examples"
NOTHING = "no call changes the examples or the options"
LOSS = "the loss of a batch is the mean over its examples weighted by their terms"
BATCH = "predictions do not depend on the evaluation batch size"
ONE_EACH = "it makes one plain prediction for each example"
PREDICTING = "predicting changes nothing of the net"
CALLS = "a task that only calls the model uses the same weights for each example"
NO_ADDRESS = "no digest holds an address"


def _pruner(
    wrong: Any, words: str, reason: str, more: tuple[str, ...] | None = (), *, twice: bool = False
) -> Kill:
    return Kill((Pruning if twice else PruningOnce)(by=wrong()), wrong, words, reason, more)


def _own(wrong: Any, words: str, reason: str, more: tuple[str, ...] | None = ()) -> Kill:
    return Kill(wrong(), wrong, words, reason, more)


def _updater(wrong: Any, words: str, reason: str, more: tuple[str, ...] | None = ()) -> Kill:
    return Kill(Updating(updater=wrong()), wrong, words, reason, more)


KILLS = (
    _pruner(
        methods.RevivesWithValues,
        "regrown weights start at zero",
        "wrote into .* of probe.weights",
        None,
        twice=True,
    ),
    _pruner(
        methods.RevivesInSilence,
        "pruned weights stay pruned unless a stage may revive them",
        "pruned weights grow back, and no stage says that it revives",
        ("seeds give different nets and masks",),
        twice=True,
    ),
    _pruner(methods.KeepsOneTooMany, MET, "was asked to leave [0-9]+ weights .* and left", None),
    _updater(
        updaters.StopsShort,
        MET,
        "weights remain, [0-9]+ expected",
        ("the distribution of the target is obeyed",),
    ),
    _own(methods.IgnoresThePattern, MET, "groups that are not 2:4|is uniform", None),
    _own(
        methods.IgnoresTheDistribution,
        "the distribution of the target is obeyed",
        "asked for a uniform sparsity of 0.75: .* weights left",
    ),
    _pruner(
        methods.PrunesOutsideTheScope, MET, "masks must be of the tensors in scope; .* 'words.weight'", None
    ),
    _pruner(methods.MasksBothNamesOfATie, "tied weights share one mask", "missing or unknown: 'out.weight'"),
    _pruner(methods.NotANumber, MET, "saliencies that are not finite numbers", None, twice=True),
    _pruner(methods.NeedsWholeGroups, MET, "RuntimeError: shape .* is invalid .*methods.py", None),
    _own(methods.RewindsToNowhere, MET, "'early'", None),
    _updater(updaters.LeaksThroughMomentum, LEAVES, "at step 9 it writes into 'exp_avg' of the optimizer"),
    _updater(updaters.WritesLate, LEAVES, "at step 7 it writes into unpruned weights"),
    _pruner(methods.WritesWeights, MET, "wrote into .* of probe.weights", None),
    _updater(updaters.PrunesByLocalGradients, PARTS, "[0-9]+% of its masks differ when each batch"),
    _updater(updaters.AddsUpSizesOfPasses, PARTS, "[0-9]+% of its masks differ when each batch", (RESUMED,)),
    _pruner(methods.DrawsUnseeded, EQUAL, "two runs differ: in [0-9]+ values of ", (RESUMED, PARTS)),
    _pruner(
        methods.DrawsTheSameForEverySeed,
        "seeds give different nets and masks",
        "seeds 0 and 1 have the same masks",
    ),
    _pruner(
        methods.RemembersEarlierCells,
        EQUAL,
        "two runs differ: in [0-9]+ values of ",
        (RESUMED, PARTS, "seeds give different nets and masks"),
    ),
    _updater(updaters.CountsOutsideItsState, RESUMED, "interrupted after [0-9]+ steps, it ends otherwise"),
    _updater(
        updaters.AnnouncesWrongDensities, ANNOUNCED, "the density after step 6 is 0.6992, and 1 is announced"
    ),
    _updater(updaters.ReadsGradientsInSecret, ANNOUNCED, "at steps that dense_gradient_steps omits"),
    _updater(updaters.PrunesUnannounced, ANNOUNCED, "the density after step 11 is"),
    _updater(updaters.AnnouncesBackwards, ANNOUNCED, "densities are not announced by rising step"),
    _updater(updaters.PrunesBeforeTheFirstStep, ANNOUNCED, "the density after step 0 is"),
    _updater(updaters.ReadsGradientsAtUnknownDensity, ANNOUNCED, "at steps that dense_gradient_steps omits"),
    _updater(updaters.ReadsMoreGradients, ANNOUNCED, "it reads more gradients than gradient_density says"),
    _updater(updaters.LearnsBehindMasks, ANNOUNCED, "pruned weights learn at steps that it omits"),
    _updater(
        updaters.CountsBetweenSteps,
        RESUMED,
        "interrupted after [0-9]+ steps, it ends otherwise",
        (ANNOUNCED,),
    ),
    _updater(
        updaters.GrowsToOne, "regrown weights start at zero", "wrote into .* of its view's weights", None
    ),
    _updater(updaters.WritesGradients, LEAVES, "wrote into .* of its view's grads", None),
    _updater(updaters.GivesNaN, MET, "gave 'encoder.weight_ih_l0' gradients that are not finite", None),
    _updater(updaters.GivesRows, MET, "gave gradients of 'encoder.weight_ih_l0' as .*; wanted", None),
    _updater(updaters.SetsBetweenSteps, MET, "asks for gradients in remask, between two steps", None),
    _own(methods.PlanDiffers, PLANS, "two plans for 0.3 differ: stage 2", None),
    _own(methods.PlanHasNoEnd, PLANS, "has more than 10,000 stages", None),
    _own(methods.PlanWritesAFile, COMPUTES, "the plan for 0.3 writes the file 'wrong.log'"),
    _own(methods.PlanDraws, COMPUTES, "draws from, or seeds, the global generator"),
    _own(methods.PlanChangesOptions, COMPUTES, "changes the option 'history'"),
    _own(methods.DigestHoldsAnAddress, NO_ADDRESS, "the digest of DigestHoldsAnAddress holds the address 0x"),
    _own(
        methods.NeverPrunes,
        "the plan prunes unless it is the dense one",
        "the plan has no stage that prunes",
        None,
    ),
    _own(
        methods.AcceptsEveryPattern,
        "it refuses patterns that its card does not name",
        "it accepts the pattern 'heads'",
    ),
    _own(
        methods.AcceptsEveryScope,
        "it refuses scopes that its card does not name",
        "accepts the scope 'all-2d'",
    ),
    _own(
        methods.AcceptsEveryDistribution,
        "it refuses distributions that its card does not name",
        "accepts the distribution 'alpha'",
    ),
    _own(tasks.SumsItsLoss, LOSS, "return the mean over the batch, or implement loss_terms"),
    _own(
        tasks.LossWithoutGradient,
        "the loss is a finite scalar with a gradient",
        "loss\\(\\) gives no parameter a gradient",
        None,
    ),
    _own(tasks.ClimbsTheLoss, "training lowers the loss", "training must lower it"),
    _own(
        tasks.OutputsAreLogits,
        "its outputs belong to its loss",
        "the probabilities of a row of outputs add up to",
    ),
    _own(
        tasks.OutputsHaveAnotherLoss,
        "its outputs belong to its loss",
        "and loss_and_outputs\\(\\) has the loss",
    ),
    _own(
        tasks.ForgetsTheLimit, "both parts have examples and obey the limit", "does not return its first two"
    ),
    _own(tasks.DrawsItsData, DATA, "returns other examples the second time", None),
    _own(tasks.DataOfTheSeed, DATA, "depends on the seed of the run", None),
    _own(
        tasks.TrainsOnTheTestPart,
        "the test part is not the training part",
        "20 of 20 test examples are training examples",
    ),
    _own(tasks.LooksAtTheTestPart, "it trains without the test part", "reads data\\('test'\\)"),
    _own(
        tasks.NewDigestsEachTime, "its sources have digests and are stable", "another value when it is", None
    ),
    _own(
        tasks.DigestOfTheFolder,
        "the data folder is not part of its digest",
        "depends on the path of the data",
    ),
    _own(tasks.DigestOfTheRecipe, "the recipe is not part of its digest", "the digest depends on the recipe"),
    _own(
        tasks.TrainedAsATaskOfOtherData,
        "the task it is trained as has the same data and recipe",
        "has other training examples",
    ),
    _own(tasks.SizesOfNothing, "published sizes are positive", "wanted positive numbers and a source"),
    _own(tasks.UsesOneWeightForEachToken, CALLS, "examples use other weights"),
    _own(tasks.TaskDigestHoldsAnAddress, NO_ADDRESS, "the digest holds the address 0x"),
    _own(tasks.OneNetForAllCells, "each call of model makes a new net", "two nets share the tensor", None),
    _own(
        tasks.UnseededNet,
        "equal seeds give equal nets",
        "two nets of one seed differ: .* 'down.weight'",
        None,
    ),
    _own(
        tasks.ExcludesWhatIsNotThere,
        "the names it returns are names of parameters",
        "exclude\\(\\) names 'classifier.weight', which is no parameter",
        None,
    ),
    _own(tasks.PredictsBySizeOfBatch, BATCH, "must not depend on the other examples of its batch"),
    _own(tasks.PredictsTooFew, ONE_EACH, "returns 2 predictions for 3 examples", None),
    _own(tasks.PredictsTensors, ONE_EACH, "wanted plain JSON values", None),
    _own(tasks.LearnsFromTheTestPart, PREDICTING, "predict\\(\\) changes the net", (BATCH, CALLS)),
    _own(tasks.PredictsInTrainingMode, PREDICTING, "predict\\(\\) leaves the net in training mode", None),
    _own(tasks.ScoresHalf, COUNTED, "counts 4 of 5 examples", None),
    _own(tasks.ScoresTheFirstMore, ORDER, "in reverse order"),
    _own(tasks.ScoreOutOfRange, HELD, "accuracy \\(%\\) is from 0 to 100", None),
    _own(tasks.ScoreIsNoNumber, HELD, "whose value is nan", None),
    _own(tasks.ScoreHasNoSignature, COUNTED, "Score.signature is empty"),
    _own(tasks.NamesNoMetric, COUNTED, "Score.metric is empty"),
    _own(tasks.ChangesItsOptions, NOTHING, "changes the option 'batches' from"),
    _own(tasks.ChangesItsExamples, NOTHING, "changes example 1"),
    _own(
        optimizers.HidesItsMomentum,
        "it steps and continues from what was saved",
        "goes on in another way from a checkpoint",
        None,
    ),
    _own(optimizers.DrawsNoise, "it steps and continues from what was saved", "goes on in another way", None),
    _own(optimizers.TakesNoSecondPass, "it steps and continues from what was saved", "", None),
)

CORRECT: tuple[Spec, ...] = (
    correct.Slow(),
    correct.HasState(),
    correct.RefusesGroups(),
    correct.OwnUpdater(),
    correct.Returns(),
    correct.MeanError(),
    correct.MeanOverTerms(),
    correct.GuessesValues(),
)


def table() -> str:
    """The kills as a table in Markdown, for docs/check.md."""
    rows = [f"| {kill.noun} | `{kill.wrong.__name__}` | {kill.does} | {kill.words} |" for kill in KILLS]
    return (
        "\n".join(["| | mutant | what it does | killed by the promise |", "|---|---|---|---|", *rows]) + "\n"
    )
