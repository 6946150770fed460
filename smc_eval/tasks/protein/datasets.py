"""The protein tasks: HotProtein's three sets, with classes and with temperatures, and Meltome."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.recipe import Recipe
from smc_eval.spec import Outside
from smc_eval.task import Sizes, Task
from smc_eval.tasks.protein import hotprotein, meltome
from smc_eval.tasks.protein.example import Split
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.protein.thermostability import ACCURACY, RHO, TINY_PROTEINS, Classes, Temperatures

# The official scripts (AdamW, 2e-2 for the head, 1e-6 for the encoder, four steps of OneCycle in all) never
# step one of their two optimizers, so their learning rates were never tested (docs/protocols.md, T3).
# AdamW, its weight decay and the four epochs are taken from them. The learning rate of the head is that of
# HotProtein's own scripts; that of the encoder is usual for fine-tuning encoders of this size.
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

HOTPROTEIN_LINKS = "links are in the README of https://github.com/VITA-Group/HotProtein"
MELTOME_LINKS = "from splits/meltome of https://github.com/J-SNACKKB/FLIP"

HOTPROTEIN_LICENCE = "MIT repository; sequences of UniProt, CC BY 4.0"
MELTOME_LICENCE = "AFL-3.0"


def hotprotein_card(name: str, data: str, classes: int | None, folds: int | None) -> TaskCard:
    """The card of a HotProtein set, with classes or, if `classes` is None, with temperatures."""
    answer = f"thermostability class (of {classes})" if classes else "growth temperature"
    return TaskCard(
        name=name,
        summary=f"{answer} of the proteins of {data}",
        source=f"HotProtein, {HOTPROTEIN}; {SMC_BENCH}",
        groups=("hotprotein", "protein"),
        metric=ACCURACY if classes else RHO,
        chance=100 / classes if classes else 0.0,
        folds=folds,
        accepts=(ProteinEncoder.card.name, "tiny"),
        published="facebook/esm1b_t33_650M_UR50S",
        licence=HOTPROTEIN_LICENCE,
    )


def hotprotein_sizes(release: hotprotein.Release, fold: int | None) -> Sizes:
    """The sizes of a HotProtein set, with a tenth for testing."""
    test = release.proteins // 10 + ((fold or 0) < release.proteins % 10)
    source = "HotProtein, ICLR 2023; tokens measured on HP-S²C2"
    if release is hotprotein.HP_S:
        source += "; 182 thousand, with a tenth assumed for testing"
    return Sizes(release.proteins - test, test, 373, source)


def hotprotein_files(task: HotClasses | HotTemperatures) -> tuple[DataFile, ...]:
    """The data files of a HotProtein set, in both of its forms."""
    release = task.release
    split = release.split.format(fold="{0..9}") + ("_classification" if isinstance(task, HotClasses) else "")
    pickles = f"{split}.pkl and {release.fasta} (a folder, .tar, .tar.gz or .fasta)"
    tables = f"{release.table}.csv and {release.table}_folds.json"
    note = f"{pickles}; or {tables}; {HOTPROTEIN_LINKS}"
    return (DataFile(f"{task.data_set}/", HOTPROTEIN_LICENCE, note=note),)


TINY_FOLDS = {**TINY_PROTEINS, "epochs": 4, "batch_size": 32, "lr": 4e-3}
"""In every fold, the order of residues takes longer to learn than their number."""


class HotClasses(Classes):
    """A HotProtein set with classes."""

    release: ClassVar[hotprotein.Release]
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    bins: tuple[float, ...] | None = None
    """Lower limits, in °C, of the second and each further class. They are used only for a CSV that has
    temperatures and no column `label`. For five classes no limits are published, so there is no default."""

    @model_validator(mode="after")
    def _one_bin_a_class(self) -> Self:
        if self.bins is not None and (
            len(self.bins) != self.classes - 1 or sorted(set(self.bins)) != list(self.bins)
        ):
            raise ValueError(
                f"bins must be {self.classes - 1} rising temperatures, one less than there are classes"
            )
        return self

    def data_files(self) -> tuple[DataFile, ...]:
        return hotprotein_files(self)

    def sizes(self) -> Sizes:
        return hotprotein_sizes(self.release, self.fold)

    def find_split(self, folder: Path) -> Split:
        return hotprotein.find_release(folder, self.release, self.fold or 0, "label", self.bins)


class HotTemperatures(Temperatures):
    """A HotProtein set with growth temperatures."""

    release: ClassVar[hotprotein.Release]
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    def data_files(self) -> tuple[DataFile, ...]:
        return hotprotein_files(self)

    def sizes(self) -> Sizes:
        return hotprotein_sizes(self.release, self.fold)

    def find_split(self, folder: Path) -> Split:
        return hotprotein.find_release(folder, self.release, self.fold or 0, "temperature")


class HpS(HotClasses):
    """HP-S: thermostability of proteins in five classes. The largest set of HotProtein, with one split."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s", "HP-S", 5, None)
    data_set: ClassVar[str] = "hotprotein/s"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S
    classes: ClassVar[int] = 5


class HpS2C2(HotClasses):
    """HP-S²C2: thermostability of proteins in two classes, with a limit at 75 °C."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s2c2", "HP-S²C2", 2, 10)
    data_set: ClassVar[str] = "hotprotein/s2c2"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S2C2
    classes: ClassVar[int] = 2

    bins: tuple[float, ...] | None = (75.0,)
    """Lower limit of the second class in °C. It is used only for a CSV that has temperatures and no column
    `label`; the official labels have the limit 75."""


class HpS2C5(HotClasses):
    """HP-S²C5: thermostability of proteins in five classes."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s2c5", "HP-S²C5", 5, 10)
    data_set: ClassVar[str] = "hotprotein/s2c5"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S2C5
    classes: ClassVar[int] = 5


class HpSTm(HotTemperatures):
    """HP-S: the temperature at which the organism of a protein grows. One split."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s/tm", "HP-S", None, None)
    data_set: ClassVar[str] = "hotprotein/s"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S


class HpS2C2Tm(HotTemperatures):
    """HP-S²C2: the temperature at which the organism of a protein grows."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s2c2/tm", "HP-S²C2", None, 10)
    tiny: ClassVar[Mapping[str, Any]] = TINY_FOLDS
    data_set: ClassVar[str] = "hotprotein/s2c2"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S2C2


class HpS2C5Tm(HotTemperatures):
    """HP-S²C5: the temperature at which the organism of a protein grows."""

    card: ClassVar[TaskCard] = hotprotein_card("hp-s2c5/tm", "HP-S²C5", None, 10)
    tiny: ClassVar[Mapping[str, Any]] = TINY_FOLDS
    data_set: ClassVar[str] = "hotprotein/s2c5"
    release: ClassVar[hotprotein.Release] = hotprotein.HP_S2C5


class Meltome(Temperatures):
    """Meltome: the melting temperature of proteins, from the Meltome atlas in one of FLIP's splits."""

    card: ClassVar[TaskCard] = TaskCard(
        name="meltome",
        summary="melting temperature of proteins",
        source=f"{MELTOME}; {SMC_BENCH}",
        groups=("protein",),
        metric=RHO,
        accepts=(ProteinEncoder.card.name, "tiny"),
        published="facebook/esm1b_t33_650M_UR50S",
        licence=MELTOME_LICENCE,
    )
    data_set: ClassVar[str] = "meltome"
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    split: Literal["mixed_split", "human", "human_cell"] = "mixed_split"
    """FLIP's split, by the name of its file. It is not known which split SMC-Bench used."""

    def data_files(self) -> tuple[DataFile, ...]:
        note = f"{self.split}.csv of splits.zip, or the older FASTA; {MELTOME_LINKS}"
        return (DataFile(f"{self.data_set}/", MELTOME_LICENCE, note=note),)

    def sizes(self) -> Sizes | None:
        if self.split != "mixed_split":
            return None
        return Sizes(24_817, 3134, 690, "FLIP (2021), sizes assumed; tokens of a hundred proteins")

    def find_split(self, folder: Path) -> Split:
        return meltome.find_flip(folder, self.split)


PROTEIN_TASKS: tuple[type[Task], ...] = (HpS, HpS2C2, HpS2C5, HpSTm, HpS2C2Tm, HpS2C5Tm, Meltome)
"""Those with published results first."""
