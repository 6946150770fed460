"""The protein tasks: HotProtein's three sets, as classes and as temperatures, and Meltome."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import model_validator

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.recipe import Recipe
from smc_eval.spec import Outside
from smc_eval.task import Sizes, Task
from smc_eval.tasks.protein import hotprotein, meltome
from smc_eval.tasks.protein.example import Split
from smc_eval.tasks.protein.thermostability import ACCURACY, RHO, Classes, Temperatures

# The official scripts (AdamW, 2e-2 for the head, 1e-6 for the encoder, OneCycle stepped four times in all)
# never step one of their two optimizers, so their rates were never tried (PROTOCOL 4.3, Q-P1 and Q-P2).
# Kept are AdamW, its decay and the four epochs; the head's rate is that of HotProtein's own scripts, the
# encoder's one at which encoders of this size are usually fine-tuned.
FINETUNED = Recipe(
    epochs=4,
    batch_size=8,
    bucket=20,
    eval_batch_size=16,
    optimizer="adamw",
    lr=1e-3,
    backbone_lr=2e-5,
    weight_decay=0.01,
    schedule="linear",
    warmup=50,
    clip=1.0,
)

HOTPROTEIN = "Chen et al., ICLR 2023, https://openreview.net/forum?id=YDJRFWBMNby"
SMC_BENCH = "SMC-Bench, ICLR 2023, arXiv:2303.02141"
MELTOME = "Jarzab et al., Nature Methods 2020; FLIP, Dallago et al. (2021), https://github.com/J-SNACKKB/FLIP"

HOTPROTEIN_AT = "links in the README of https://github.com/VITA-Group/HotProtein"
MELTOME_AT = "from splits/meltome of https://github.com/J-SNACKKB/FLIP"

HOTPROTEIN_LICENCE = "MIT repository; sequences of UniProt, CC BY 4.0"
MELTOME_LICENCE = "AFL-3.0"


def hot_card(name: str, data: str, classes: int | None, folds: int | None) -> TaskCard:
    """The card of a set of HotProtein, with its classes or, where there are none, its temperatures."""
    what = f"which of {classes} classes of heat" if classes else "which growth temperature"
    return TaskCard(
        name=name,
        summary=f"{what} a protein of {data} is of",
        source=f"HotProtein, {HOTPROTEIN}; {SMC_BENCH}",
        groups=("hotprotein", "protein"),
        metric=ACCURACY if classes else RHO,
        chance=100 / classes if classes else 0.0,
        folds=folds,
        accepts=("protein-encoder", "tiny"),
        published="facebook/esm1b_t33_650M_UR50S",
        licence=HOTPROTEIN_LICENCE,
    )


def hot_sizes(release: hotprotein.Release, fold: int | None) -> Sizes:
    """How large a set of HotProtein is, a tenth of it tested."""
    tested = release.proteins // 10 + ((fold or 0) < release.proteins % 10)
    about = "HotProtein, ICLR 2023; tokens measured on HP-S²C2"
    if release is hotprotein.S:
        about += "; 182 thousand, of which a tenth is supposed to be tested"
    return Sizes(release.proteins - tested, tested, 373, about)


def hot_needs(task: HotClasses | HotTemperatures) -> tuple[DataFile, ...]:
    """A set of HotProtein, in either of its forms."""
    release = task.release
    split = release.split.format(fold="{0..9}") + ("_classification" if isinstance(task, HotClasses) else "")
    pickled = f"{split}.pkl and {release.fasta} (a folder, .tar, .tar.gz or .fasta)"
    tabled = f"{release.table}.csv and {release.table}_folds.json"
    note = f"{pickled}; or {tabled}; {HOTPROTEIN_AT}"
    return (DataFile(f"{task.data_set}/", HOTPROTEIN_LICENCE, note=note),)


class HotClasses(Classes):
    """A set of HotProtein by its classes."""

    release: ClassVar[hotprotein.Release]
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    bins: tuple[float, ...] | None = None
    """Degrees Celsius at which the second and each further class begins. They make labels only of a CSV
    that has temperatures and no column `label`; those of pickles are taken as they are. For five classes no
    binning is published, so there is no default."""

    @model_validator(mode="after")
    def _one_bin_a_class(self) -> Self:
        if self.bins is not None and (
            len(self.bins) != self.classes - 1 or sorted(set(self.bins)) != list(self.bins)
        ):
            raise ValueError(
                f"bins are {self.classes - 1} rising temperatures, one less than there are classes"
            )
        return self

    def data_files(self) -> tuple[DataFile, ...]:
        return hot_needs(self)

    def sizes(self) -> Sizes:
        return hot_sizes(self.release, self.fold)

    def find_split(self, folder: Path) -> Split:
        return hotprotein.find_release(folder, self.release, self.fold or 0, "label", self.bins)


class HotTemperatures(Temperatures):
    """A set of HotProtein by its growth temperatures."""

    release: ClassVar[hotprotein.Release]
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    def data_files(self) -> tuple[DataFile, ...]:
        return hot_needs(self)

    def sizes(self) -> Sizes:
        return hot_sizes(self.release, self.fold)

    def find_split(self, folder: Path) -> Split:
        return hotprotein.find_release(folder, self.release, self.fold or 0, "temperature")


class HpS(HotClasses):
    """HP-S: the large set, one split."""

    card: ClassVar[TaskCard] = hot_card("hp-s", "HP-S", 5, None)
    data_set: ClassVar[str] = "hotprotein/s"
    release: ClassVar[hotprotein.Release] = hotprotein.S
    classes: ClassVar[int] = 5


class HpS2C2(HotClasses):
    """HP-S²C2: the two classes lie below and from 75 °C on."""

    card: ClassVar[TaskCard] = hot_card("hp-s2c2", "HP-S²C2", 2, 10)
    data_set: ClassVar[str] = "hotprotein/s2c2"
    release: ClassVar[hotprotein.Release] = hotprotein.S2C2
    classes: ClassVar[int] = 2

    bins: tuple[float, ...] | None = (75.0,)
    """Degrees Celsius at which the second class begins: the official labels are 1 from 75 on. It makes labels
    only of a CSV that has temperatures and no column `label`."""


class HpS2C5(HotClasses):
    """HP-S²C5: five classes."""

    card: ClassVar[TaskCard] = hot_card("hp-s2c5", "HP-S²C5", 5, 10)
    data_set: ClassVar[str] = "hotprotein/s2c5"
    release: ClassVar[hotprotein.Release] = hotprotein.S2C5
    classes: ClassVar[int] = 5


class HpSTm(HotTemperatures):
    """HP-S by temperature."""

    card: ClassVar[TaskCard] = hot_card("hp-s/tm", "HP-S", None, None)
    data_set: ClassVar[str] = "hotprotein/s"
    release: ClassVar[hotprotein.Release] = hotprotein.S


class HpS2C2Tm(HotTemperatures):
    """HP-S²C2 by temperature."""

    card: ClassVar[TaskCard] = hot_card("hp-s2c2/tm", "HP-S²C2", None, 10)
    data_set: ClassVar[str] = "hotprotein/s2c2"
    release: ClassVar[hotprotein.Release] = hotprotein.S2C2


class HpS2C5Tm(HotTemperatures):
    """HP-S²C5 by temperature."""

    card: ClassVar[TaskCard] = hot_card("hp-s2c5/tm", "HP-S²C5", None, 10)
    data_set: ClassVar[str] = "hotprotein/s2c5"
    release: ClassVar[hotprotein.Release] = hotprotein.S2C5


class Meltome(Temperatures):
    """The Meltome atlas in one of FLIP's splits."""

    card: ClassVar[TaskCard] = TaskCard(
        name="meltome",
        summary="at which temperature a protein melts",
        source=f"{MELTOME}; {SMC_BENCH}",
        groups=("protein",),
        metric=RHO,
        accepts=("protein-encoder", "tiny"),
        published="facebook/esm1b_t33_650M_UR50S",
        licence=MELTOME_LICENCE,
    )
    data_set: ClassVar[str] = "meltome"
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    split: Literal["mixed_split", "human", "human_cell"] = "mixed_split"
    """Which of FLIP's splits, by its file's name. Which one SMC-Bench used is not known."""

    def data_files(self) -> tuple[DataFile, ...]:
        note = f"{self.split}.csv of splits.zip, or the older FASTA; {MELTOME_AT}"
        return (DataFile(f"{self.data_set}/", MELTOME_LICENCE, note=note),)

    def sizes(self) -> Sizes | None:
        if self.split != "mixed_split":
            return None
        return Sizes(24_817, 3134, 690, "FLIP (2021), sizes supposed; tokens of a hundred proteins")

    def find_split(self, folder: Path) -> Split:
        return meltome.find_flip(folder, self.split)


PROTEIN_TASKS: tuple[type[Task], ...] = (HpS, HpS2C2, HpS2C5, HpSTm, HpS2C2Tm, HpS2C5Tm, Meltome)
"""The published ones first."""
