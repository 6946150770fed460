"""Peak memory of one-shot calibration of a language model, each method in a process of its own.

It makes a Llama of random weights, prunes it at half sparsity block by block, and sets the peak beside the
weights, the masks, one block and the kept inputs of a block. Run it with smc-eval-lm installed:

    python benchmarks/lm_calibration.py --features 1024 --blocks 8 --windows 16 --length 256
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METHODS = {"omp-after": "uniform", "wanda": "rows", "sparsegpt": "uniform"}
MIB = 2**20


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("features", 1024), ("blocks", 8), ("windows", 16), ("length", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.method:
        measure(words)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "llama"
        save_llama(folder, words)
        print(
            "method     weights   masks  one block  its inputs  |  peak above weights and masks, MiB  CPU s"
        )
        for method in METHODS:
            command = [sys.executable, __file__, *sys.argv[1:], "--method", method, "--folder", str(folder)]
            subprocess.run(command, check=True)


def save_llama(folder: Path, words: argparse.Namespace) -> None:
    """A Llama of random weights with a tokenizer."""
    from smc_eval_lm.model_kind import CausalLanguageModel
    from smc_eval_lm.texts import read_text
    from transformers import LlamaConfig, LlamaForCausalLM

    text = read_text("synthetic", "wikitext-2", "train", "whole")
    tokenizer = CausalLanguageModel().build_tokenizer("tiny", text.pieces)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=words.features,
        intermediate_size=words.features * 11 // 4,
        num_hidden_layers=words.blocks,
        num_attention_heads=words.features // 64,
        num_key_value_heads=words.features // 64,
        max_position_embeddings=words.length,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(words: argparse.Namespace) -> None:
    """Prune, and print the row of a method."""
    import torch
    from smc_eval_lm.perplexity import Perplexity

    from smc_eval.engine.batches import Batches
    from smc_eval.engine.device import Device
    from smc_eval.engine.probe import NetProbe
    from smc_eval.engine.usage import Usage
    from smc_eval.registry import registry
    from smc_eval.sparse.net import Net
    from smc_eval.sparse.scope import in_scope
    from smc_eval.target import Target

    torch.set_num_threads(1)
    task = Perplexity(backbone=str(words.folder), train_window=words.length, window=words.length)
    recipe = task.recipe.model_copy(update={"batch_size": 1})
    batches = Batches(task.trained_as(), recipe, "start", Device("cpu", threads=1))
    model = task.model()
    net = Net(model, in_scope(model, "body", task.exclude(model)))
    kind: Any = registry().methods[words.method]
    method = kind() if words.method == "omp-after" else kind(batches=words.windows)
    probe = NetProbe(net, batches, "prune", Usage(), Device("cpu", threads=1))
    before, start = peak(), time.process_time()
    probe.set_masks(method.pruner().prune(probe, Target(sparsity=0.5, distribution=METHODS[words.method])))
    seconds = time.process_time() - start
    weights = sum(weight.nbytes for weight in model.parameters()) / MIB
    masks = sum(mask.nbytes for mask in net.masks.values()) / MIB
    block = sum(weight.nbytes for weight in model.model.layers[0].parameters()) / MIB
    above = peak() - before - masks
    print(
        f"{words.method:10s} {weights:7.0f} {masks:7.0f} {block:10.0f} {probe.kept_mebibytes:11.0f}  |  "
        f"{above:32.0f} {seconds:7.0f}"
    )


def peak() -> float:
    """Largest resident memory of this process so far, in mebibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
