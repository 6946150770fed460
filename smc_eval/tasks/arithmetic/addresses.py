"""Addresses of the word problems: the repository of the SVAMP paper, at fixed commits."""

from __future__ import annotations

from collections.abc import Mapping

from smc_eval.data_file import DataFile

RAW = "https://raw.githubusercontent.com/arkilpatel/SVAMP"

FIRST_COMMIT = "04df0ae782610032aac7e687b61d07a90176c993"
"""The commit of all files but one."""

CORRECTED_COMMIT = "bbf1e71d2f65453a87665414ff374e5a5962ef95"
"""The commit that corrected SVAMP's own thousand problems."""

MAWPS_LICENCE = "unstated; in an MIT repository"
ASDIV_LICENCE = "CC BY-NC 4.0"
SVAMP_LICENCE = "MIT; its training part holds MAWPS and ASDiv-A"

UNPINNED_NOTE = "the address names a commit; no sha256 is known"


def _file(path: str, commit: str, licence: str) -> DataFile:
    return DataFile(path, licence, f"{RAW}/{commit}/data/{path}", note=UNPINNED_NOTE)


def _folds(data_set: str, licence: str) -> tuple[DataFile, ...]:
    return tuple(
        _file(f"{data_set}/fold{fold}/{part}.csv", FIRST_COMMIT, licence)
        for fold in range(5)
        for part in ("train", "dev")
    )


PROBLEM_FILES: Mapping[str, tuple[DataFile, ...]] = {
    "cv_mawps": _folds("cv_mawps", MAWPS_LICENCE),
    "cv_asdiv-a": _folds("cv_asdiv-a", ASDIV_LICENCE),
    "mawps-asdiv-a_svamp": (
        _file("mawps-asdiv-a_svamp/train.csv", FIRST_COMMIT, SVAMP_LICENCE),
        _file("mawps-asdiv-a_svamp/dev.csv", CORRECTED_COMMIT, SVAMP_LICENCE),
    ),
}
"""Files by data set."""
