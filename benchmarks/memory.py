"""The memory and time of checkpoints and of a cell's end, beside those of revision 3bee712.

    python benchmarks/memory.py                  random RoBERTa-large, 355 M parameters: needs 18 GiB
    python benchmarks/memory.py --hidden 256     a smaller one

One cell of CommonsenseQA on synthetic data trains five steps, prunes by magnitude and is scored. Each
build runs it twice: until its process is killed at step 3, right after a checkpoint, and again to its
end. Every run is a process of its own. The kernel's peak of resident memory is read and reset between
phases. A bare loop makes the same five steps: its peak is the floor. The script ends with 1 if a target
is not reached.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

REVISION = "3bee712"
"""The last revision of release 0.1.0."""

TARGETS = {"checkpoint": 1.05, "resume": 1.10, "run": 1.15, "end": 4.5, "seconds": 0.35}
"""Largest ratios. `checkpoint` and `resume`: to the peak of training. `run`: to the peak of the bare loop.
`end`, the peak of the certificate: to the bytes of the weights. `seconds` of a save: to the old build's."""

STEPS, KILLED_AT = 5, 3

PLACES = {
    "new": {
        "checkpoint": "smc_eval.store.store:Store.save_partial",
        "resume": "smc_eval.engine.train:Training._restore",
        "load": "smc_eval.store.store:Store.load_partial",
        "step": "smc_eval.engine.train:Training._advance",
        "net": "smc_eval.store.store:Store.save",
        "certificate": "smc_eval.engine.finished_cell:FinishedCell._certificate",
    },
    "old": {
        "checkpoint": "smc_eval.engine.store:Store.save_partial",
        "resume": "smc_eval.engine.train:Training._restore",
        "load": "smc_eval.engine.store:Store.load_partial",
        "step": "smc_eval.engine.train:Training._advance",
        "net": "smc_eval.engine.store:Store.save",
        "certificate": "smc_eval.engine.walk:Walk._certificate",
    },
}
"""The functions that are the phases of a run, in each build."""


def peak() -> float:
    """Peak of resident memory since the last reset, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def reset_peak() -> None:
    """Let the kernel measure the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class Phases:
    """Peaks and seconds of a process by phase; the time between phases is "else"."""

    def __init__(self, file: Path) -> None:
        self.file, self.inside = file, list[str]()
        self.peaks, self.seconds = dict[str, float](), dict[str, float]()

    def note(self) -> None:
        """Add the peak until now to the innermost phase, and write everything to the file."""
        phase = self.inside[-1] if self.inside else "else"
        self.peaks[phase] = max(self.peaks.get(phase, 0.0), peak())
        reset_peak()
        self.file.write_text(json.dumps([self.peaks, self.seconds]), encoding="utf-8")

    def wrap(self, place: str, phase: str, after: Callable[[], None] | None = None) -> None:
        """Measure each call of a method."""
        module, _, path = place.partition(":")
        owner, name = path.split(".")
        holder = getattr(importlib.import_module(module), owner)
        method = getattr(holder, name)

        def measured(*args: Any, **kwargs: Any) -> Any:
            self.note()
            self.inside.append(phase)
            began = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + time.process_time() - began
                self.note()
                self.inside.pop()
                if after:
                    after()

        setattr(holder, name, measured)


def child(build: str, file: Path, run: str, words: list[str]) -> None:
    """Run the program of a build under measurement; a run to be killed ends after a checkpoint."""
    phases, saves, kill = Phases(file), list[int](), run == "killed"

    def saved() -> None:
        saves.append(1)
        if kill and len(saves) == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    for phase, place in PLACES[build].items():
        phases.wrap(place, phase, saved if phase == "checkpoint" else None)
    if build == "old":
        importlib.import_module("smc_eval.engine.train").CHECKPOINT_SECONDS = -1.0 if kill else 1e9
    else:  # measured functions are those of this process
        importlib.import_module("smc_eval.cli.run").ISOLATED = False
    sys.argv = ["smc-eval", *words]
    try:
        importlib.import_module("smc_eval.cli").main()
    finally:
        phases.note()


def bare(model: str, file: Path, recipe: str) -> None:
    """Train the same net for the same steps in a plain loop; write its peak and the bytes of its weights."""
    import torch

    from smc_eval.tasks.commonsense.csqa import Csqa

    torch.set_num_threads(1)
    task = Csqa(backbone=model)
    sizes = dict(part.split("=") for part in recipe.split(","))
    net = task.model()
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    examples = task.data("train")[: int(sizes["batch_size"])]
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        task.loss_and_outputs(net, task.collate(examples))[0].backward()
        optimizer.step()
    weights = sum(weight.nbytes for weight in net.parameters()) / 1e6
    file.write_text(json.dumps([peak(), weights]), encoding="utf-8")


def make_checkpoint(folder: Path, hidden: int) -> None:
    """A RoBERTa with random weights, 24 layers unless it is small; its tokenizer knows whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

    from smc_eval.tasks.commonsense.csqa import Csqa

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    questions = [" ".join(map(" ".join, example.choices)) for example in Csqa().data("train")]
    tokenizer.train_from_iterator(questions, trainers.WordLevelTrainer(special_tokens=special))
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        mask_token="<mask>",  # noqa: S106 - no password
        **{f"{name}_token": word for name, word in names.items()},
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50265,
        hidden_size=hidden,
        num_hidden_layers=24 if hidden >= 1024 else 6,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)


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


def measured(build: str, folder: Path, model: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Peaks in MB and seconds of both runs of a build, by phase."""
    words = f"--model {model} --tasks csqa --method omp-after --sparsity 0.5 --no-dense --limit 8 --threads 1"
    words += f" --recipe steps={STEPS},batch_size=4 --quiet --output {folder / build}"
    found: dict[str, Any] = {}
    for run in ("killed", "resumed"):
        file = folder / f"{build}-{run}.json"
        every = [] if build == "old" else ["--checkpoint-every", "0" if run == "killed" else "1e9"]
        command = [sys.executable, __file__, "--child", build, str(file), run, *words.split(), *every]
        ended = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=False)
        wanted = -signal.SIGKILL if run == "killed" else 0
        if ended.returncode != wanted:
            raise SystemExit(f"the {build} build ended with {ended.returncode}, not {wanted}")
        found[run] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Measure both builds and the bare loop; exit with 1 if a ratio exceeds its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024, help="width of the net")
    parser.add_argument("--new-only", action="store_true", help="leave out the old build")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = folder / "roberta"
        make_checkpoint(model, asked.hidden)
        file = folder / "bare.json"
        subprocess.run(
            [sys.executable, __file__, "--bare", str(model), str(file), "batch_size=4"], check=True
        )
        floor, weights = json.loads(file.read_text(encoding="utf-8"))
        print(f"weights {weights:.0f} MB, floor {floor:.0f} MB", flush=True)
        builds = {"new": dict(os.environ)}
        if not asked.new_only:
            builds["old"] = old_release(folder)
        results = {}
        for build, environment in builds.items():
            results[build] = measured(build, folder, model, environment)
            show(build if build == "new" else REVISION, results[build], floor, weights)
        raise SystemExit(not reached(results, floor, weights))


def show(build: str, runs: dict[str, Any], floor: float, weights: float) -> None:
    """Print the peaks and seconds of a build."""
    for run, (peaks, seconds) in runs.items():
        for phase, size in peaks.items():
            print(
                f"{build:8} {run:8} {phase:12} {size:7.0f} MB  {size / weights:5.2f} x weights  "
                f"{size / floor:5.2f} x floor  {seconds.get(phase, 0):6.1f} s"
            )


def reached(results: dict[str, Any], floor: float, weights: float) -> bool:
    """Print each ratio beside its target; whether all are reached."""
    (killed, saves), (resumed, _) = results["new"]["killed"], results["new"]["resumed"]
    training = killed["step"]
    ratios = {
        "checkpoint": killed["checkpoint"] / training,
        "resume": max(resumed["load"], resumed["resume"]) / training,
        "run": max(*killed.values(), *resumed.values()) / floor,
        "end": resumed["certificate"] / weights,
    }
    if "old" in results:
        ratios["seconds"] = saves["checkpoint"] / results["old"]["killed"][1]["checkpoint"]
    for name, ratio in ratios.items():
        print(f"{name:12} {ratio:.2f}  target {TARGETS[name]}")
    return all(ratio <= TARGETS[name] for name, ratio in ratios.items())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--child", build, file, run, *words]:
            child(build, Path(file), run, words)
        case ["--bare", model, file, recipe]:
            bare(model, Path(file), recipe)
        case _:
            main()
