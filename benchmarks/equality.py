"""Show that this release computes the numbers of revision 3bee712, the last of release 0.1.0.

Digests seed start weights, the order of batches and draws. In 0.2.0 a class has an identity that is
no module path, so every digest is new, and numbers change once. Here this release gets a table from
new names to old ones, for its digests alone. Under that table all digests, scores, sparsities,
certificates, masks and predictions must be equal to those of the old revision. One job is killed
and resumed.

    python benchmarks/equality.py            about an hour on two cores
    python benchmarks/equality.py --quick    one task, two methods
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

REVISION = "3bee712"

CLASSES = {
    "CustomMasks": "Given",
    "LotteryTicket": "Lottery",
    "MultipleChoice": "Choosing",
    "RandomSaliency": "Chance",
    "SparseEvolution": "Evolution",
    "WandaScore": "Activation",
}
"""Classes that have another name now."""

FIELDS = {
    "Train": {"updater": "rule"},
    "Target": {"distribution": "spread"},
    "CustomMasks": {"content": "kind_of"},
}
"""Fields that have another name now."""

KEYS = {
    "distribution": "spread",
    "remaining": "kept",
    "expected": "wanted",
    "scope_remaining": "scope_kept",
    "tensors_remaining": "tensors_kept",
    "predictions": "answers",
    "mask_samples": "sketches",
}
"""Keys of records, and folders of stores, that have another name now."""

COMPARED = ("predictions", "mask_samples", "masks")

MAIN = "--model tiny --method omp-after --tasks all --sparsity 0.5,0.8"
METHODS = "--model tiny --method all --tasks csqa,mawps/gts --folds 0 --sparsity 0.5,0.8"
QUICK = "--model tiny --method snip,gmp --tasks csqa --sparsity 0.5"

LIST_OLD = """
import importlib, json, pkgutil, smc_eval
from smc_eval.spec import Spec
for module in pkgutil.walk_packages(smc_eval.__path__, "smc_eval."):
    if not module.name.endswith(("__main__", ".ray")):
        importlib.import_module(module.name)
found, queue = {}, [Spec]
for kind in queue:
    queue += kind.__subclasses__()
    found[kind.__qualname__] = f"{kind.__module__}:{kind.__qualname__}"
print(json.dumps(found))
"""


def speak_old(kinds: Mapping[str, str]) -> None:
    """Give this release's digests the old names. `kinds` are the old classes by name."""
    from smc_eval.engine import train
    from smc_eval.experiment import cell
    from smc_eval.spec import Spec, digest

    new = Spec.canonical

    def canonical(spec: Spec) -> dict[str, Any]:
        name = type(spec).__qualname__
        plain, fields = new(spec), FIELDS.get(name, {})
        old = CLASSES.get(name, name)
        assert isinstance(plain["fields"], dict)
        return {
            "kind": kinds.get(old, plain.pop("identity")),
            "version": plain["version"],
            "fields": {fields.get(key, key): value for key, value in plain["fields"].items()},
        }

    def trained(*values: object) -> str:
        return digest(*("rule" if value == "updater" else value for value in values))

    Spec.canonical = canonical  # type: ignore[assignment,method-assign]
    cell.ENGINE = 1
    train.digest = trained  # type: ignore[attr-defined]


def old_release(folder: Path) -> dict[str, str]:
    """Unpack the old revision into a folder; the environment in which it runs."""
    root = Path(__file__).resolve().parents[1]
    git = ["git", "archive", REVISION]
    packed = subprocess.run(git, cwd=root, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder / "source", filter="data")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            folder / "old",
            folder / "source",
        ],
        check=True,
    )
    return {**os.environ, "PYTHONPATH": str(folder / "old")}


def same(before: Path, after: Path) -> int:
    """Compare two stores; the number of cells. Ends the program where anything differs."""
    old, new = (
        {record["digest"]: record for record in map(json.loads, (store / "results.jsonl").open())}
        for store in (before, after)
    )
    if old.keys() != new.keys():
        raise SystemExit(f"{len(old.keys() ^ new.keys())} digests of {len(old)} differ")
    for digest, record in old.items():
        pairs = [
            (compared_fields(record), compared_fields(renamed(new[digest]))),
            *files(before, after, digest),
        ]
        for what, (wanted, found) in zip(("record", *COMPARED), pairs, strict=True):
            if wanted != found:
                raise SystemExit(
                    f"{record['task']} {record['method']} {record['target']} differs in its {what}"
                )
    return len(old)


def compared_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal of a record: all but schema, seal, versions, seconds and memory."""
    cost = {
        k: v for k, v in record["cost"].items() if k not in ("seconds", "peak_memory_mb", "peak_memory_of")
    }
    data = {**record["data"], "source": record["data"]["source"].replace("twin", "synthetic")}
    rest = {key: value for key, value in record.items() if key not in ("schema", "seal", "versions")}
    return {**rest, "cost": cost, "data": data}


def renamed(value: Any) -> Any:
    """A new record under the old names of its keys."""
    if isinstance(value, dict):
        return {KEYS.get(key, key): renamed(part) for key, part in value.items()}
    return value


def files(before: Path, after: Path, digest: str) -> list[tuple[Any, Any]]:
    """What lies beside a record in both stores: predictions, samples of masks, and whole masks."""
    from safetensors.torch import load_file

    found: list[tuple[Any, Any]] = []
    for folder in COMPARED[:2]:
        paths = before / KEYS[folder] / f"{digest}.json.gz", after / folder / f"{digest}.json.gz"
        old, new = (json.loads(gzip.decompress(path.read_bytes())) for path in paths)
        new = {key: value for key, value in new.items() if key not in ("digest", "seal")}
        found.append((old, new.get("samples", new)))
    masks = [load_file(store / "masks" / f"{digest}.safetensors") for store in (before, after)]
    bits = [{name: part.numpy().tobytes() for name, part in sorted(mask.items())} for mask in masks]
    return [*found, (bits[0], bits[1])]


def run_killed(command: list[str], store: Path) -> None:
    """Run, kill after a few records, and run again."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    lines, records = 0, store / "results.jsonl"
    while process.poll() is None and lines < 5:
        time.sleep(0.2)
        lines = len(records.read_bytes().splitlines()) if records.exists() else 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    print(f"killed after {lines} records", flush=True)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Run both releases, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task, two methods")
    parser.add_argument("--keep", type=Path, help="keep all stores in this folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        environment = old_release(folder)
        listed = subprocess.run(
            [sys.executable, "-c", LIST_OLD], env=environment, stdout=subprocess.PIPE, check=True, cwd=folder
        )
        table = folder / "kinds.json"
        table.write_bytes(listed.stdout)
        for name, words in (
            {"quick": QUICK}.items() if asked.quick else {"main": MAIN, "methods": METHODS}.items()
        ):
            before, after = folder / f"{name}-before", folder / f"{name}-after"
            common = [*words.split(), "--threads", "1", "--keep", "masks", "--quiet", "--output"]
            subprocess.run(
                [sys.executable, "-m", "smc_eval", *common, str(before)],
                env=environment,
                check=True,
                cwd=folder,
            )
            command = [sys.executable, __file__, "--as-old", str(table), *common, str(after)]
            if name == "main":
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            else:
                run_killed(command, after)
            print(
                f"{name}: {same(before, after)} cells equal, in digests, numbers, masks and predictions",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-old"]:
        speak_old(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
        sys.argv = ["smc-eval", *sys.argv[3:]]
        from smc_eval.cli import main as run_program

        run_program()
    else:
        main()
