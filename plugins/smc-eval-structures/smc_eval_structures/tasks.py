"""The tasks of this package: HP-S²C5 and HP-S²C2 from structures, with classes and with temperatures."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.errors import ModelError
from smc_eval.files.user_path import is_folder, user_path
from smc_eval.recipe import Recipe
from smc_eval.spec import Outside
from smc_eval.task import Part, Sizes, Source, Task
from smc_eval.tasks.backbone import find_backbone
from smc_eval.tasks.folder import official_folder
from smc_eval.tasks.protein import hotprotein
from smc_eval.tasks.protein.datasets import FINETUNED, HpS2C2, HpS2C2Tm, HpS2C5, HpS2C5Tm, hotprotein_sizes
from smc_eval.tasks.protein.example import Protein
from smc_eval.tasks.protein.thermostability import ACCURACY, RHO, Proteins
from smc_eval_structures.convert import ADDRESS
from smc_eval_structures.folded import (
    OFFICIAL,
    FoldedProtein,
    files_digest,
    folded,
    place_names,
    structure_files,
)
from smc_eval_structures.model_kind import PUBLISHED, StructureKind
from smc_eval_structures.synthetic import synthetic_structures

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval_structures.batch import StructureBatch
    from smc_eval_structures.net import StructureNet

LICENCE = "MIT repository; sequences of UniProt and structures of the AlphaFold database, CC BY 4.0"

DATABASE = "https://alphafold.ebi.ac.uk/files/AF-NAME-F1-model_v4.cif"

SOURCE = (
    "HotProtein, Chen et al., ICLR 2023, https://openreview.net/forum?id=YDJRFWBMNby; "
    "SMC-Bench, ICLR 2023, arXiv:2303.02141; ESM-IF1, Hsu et al., ICML 2022"
)


def structure_card(name: str, data: str, classes: int | None) -> TaskCard:
    """The card of a HotProtein set with structures: with classes or, if `classes` is None, temperatures."""
    answer = f"thermostability class (of {classes})" if classes else "growth temperature"
    return TaskCard(
        name=name,
        summary=f"{answer} of the proteins of {data}, from their structures",
        source=SOURCE,
        groups=("structures",),
        metric=ACCURACY if classes else RHO,
        chance=100 / classes if classes else 0.0,
        folds=hotprotein.FOLDS,
        accepts=(StructureKind.card.name, "tiny"),
        published=PUBLISHED,
        licence=LICENCE,
    )


class Structures(Proteins):
    """Proteins, and a net that predicts from their backbones alone."""

    release: ClassVar[hotprotein.Release]
    recipe: Annotated[Recipe, Outside()] = FINETUNED

    truncate: int | None = Field(None, ge=1)
    """Number of residues that are read, from the first one on. None: all."""
    chain: str | None = None
    """Chain of each structure, by its name in the PDB. None: the only protein chain."""

    def data_files(self) -> tuple[DataFile, ...]:
        own, other = (f"{self.data_set}/{name}/" for name in place_names(self.release))
        note = (
            f"a structure of each protein: NAME/{OFFICIAL}, or AF-NAME-F1-model_v4.cif from {DATABASE}, or "
            f"NAME.pdb or NAME.cif, plain or .gz; {other} is another name of the folder"
        )
        split = super().data_files()  # type: ignore[misc]  # of the set without structures
        return (*split, DataFile(own, LICENCE, note=note))

    def sizes(self) -> Sizes:
        sizes = hotprotein_sizes(self.release, self.fold)
        return Sizes(sizes.train, sizes.test, sizes.tokens, f"{sizes.source}; a token for each residue")

    def sources(self) -> tuple[Source, ...]:
        split, files = self._split(), self._structures()
        data = Source(
            "data", self.folder, files_digest([*split.files, *(files[name] for name in sorted(files))])
        )
        return (data,) if self.backbone == "tiny" else (data, self._checkpoint().source)

    def data(self, part: Part) -> Sequence[FoldedProtein]:
        files = self._structures()
        return [
            folded(protein, files[protein.name], self.chain) for protein in self._parts()[part][: self.limit]
        ]

    def collate(self, examples: Sequence[FoldedProtein]) -> StructureBatch:  # type: ignore[override]
        from smc_eval_structures.batch import batch_of

        return batch_of(examples, self.truncate)

    def length(self, example: Protein) -> int:
        from smc_eval_structures.batch import ENDS

        return len(example.sequence[: self.truncate]) + ENDS

    def content(self, example: FoldedProtein) -> Hashable:  # type: ignore[override]
        return example.backbone.atoms_L33[: self.truncate].tobytes()

    def real_tokens(self, batch: StructureBatch) -> Tensor:
        """Which places are not padding."""
        return batch.real_NL

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """All but the linear layers of the transformer: SMC-Bench never prunes the graph encoder."""
        from torch import nn

        layers = cast("StructureNet", model).encoder.layers
        prunable = {id(part.weight) for part in layers.modules() if isinstance(part, nn.Linear)}
        return [name for name, weight in model.named_parameters() if id(weight) not in prunable]

    def _parts(self) -> Mapping[Part, list[Protein]]:
        train, test = self._split().parts()
        return {"train": train, "test": test}

    def _structures(self) -> dict[str, Path]:
        """The structure file of each protein of the split."""
        names = [protein.name for part in self._parts().values() for protein in part]
        return structure_files(self._data_folder(), self.release, names)

    def _data_folder(self) -> Path:
        if self.folder == "synthetic":
            return synthetic_structures(self.data_set)
        return official_folder(self.folder, self.data_set)

    def _checkpoint(self) -> Any:
        if self.backbone == PUBLISHED and not is_folder(user_path(PUBLISHED)):
            raise ModelError(
                f"there is no model folder {PUBLISHED!r}: fetch {ADDRESS} and run "
                f"smc-eval-convert-esm-if1 {PUBLISHED}.pt {PUBLISHED}\nor name the folder: --model DIR"
            )
        return find_backbone(self.backbone, StructureKind())

    def _net(self, outputs: int, centre: float = 0.0, scale: float = 1.0) -> StructureNet:  # type: ignore[override]
        from smc_eval_structures.net import StructureNet

        encoder = StructureKind().build("tiny") if self.backbone == "tiny" else self._checkpoint().load()
        return StructureNet(encoder, outputs, centre, scale)


class HpS2C5Structure(Structures, HpS2C5):
    """HP-S²C5: thermostability of proteins in five classes, from their structures."""

    card: ClassVar[TaskCard] = structure_card("hp-s2c5/structure", "HP-S²C5", 5)


class HpS2C2Structure(Structures, HpS2C2):
    """HP-S²C2: thermostability of proteins in two classes, from their structures."""

    card: ClassVar[TaskCard] = structure_card("hp-s2c2/structure", "HP-S²C2", 2)


class HpS2C5StructureTm(Structures, HpS2C5Tm):
    """HP-S²C5: the temperature at which the organism of a protein grows, from its structure."""

    card: ClassVar[TaskCard] = structure_card("hp-s2c5/structure/tm", "HP-S²C5", None)


class HpS2C2StructureTm(Structures, HpS2C2Tm):
    """HP-S²C2: the temperature at which the organism of a protein grows, from its structure."""

    card: ClassVar[TaskCard] = structure_card("hp-s2c2/structure/tm", "HP-S²C2", None)


STRUCTURE_TASKS: tuple[type[Task], ...] = (
    HpS2C5Structure,
    HpS2C2Structure,
    HpS2C5StructureTm,
    HpS2C2StructureTm,
)
