"""Peak memory of one-shot calibration of a language model, each method in a process of its own.

It makes a Llama of random weights, prunes it at half sparsity block by block, and sets the peak above weights
and masks beside one block with its masks and its kept inputs. SparseGPT also needs the Gram matrices of a
block's inputs, and three matrices of doubles for the widest ("algebra"). Each method runs twice. "In use":
each piece of memory above 256 KiB is given back when it is free (`MALLOC_MMAP_THRESHOLD_`). "Resident": by
default, the C library keeps free pieces up to 32 MiB. Run it with smc-eval-lm installed:

    python benchmarks/lm_calibration.py --features 1024 --blocks 8 --windows 16 --length 256
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

METHODS = {"wanda": "rows", "sparsegpt": "uniform"}
MIB = 2**20


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("features", 1024), ("blocks", 8), ("windows", 16), ("length", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--how", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.method:
        measure(words)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "llama"
        save_llama(folder, words)
        print("MiB        weights   masks  one block  its inputs  algebra  |  peak above weights and masks")
        for method in METHODS:
            command = [sys.executable, __file__, *sys.argv[1:], "--method", method, "--folder", str(folder)]
            for how, environment in (("in use", {"MALLOC_MMAP_THRESHOLD_": "262144"}), ("resident", {})):
                subprocess.run([*command, "--how", how], check=True, env=os.environ | environment)


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
    method = kind(batches=words.windows)
    probe = NetProbe(net, batches, "prune", Usage(), Device("cpu", threads=1))
    before = peak()
    probe.set_masks(method.pruner().prune(probe, Target(sparsity=0.5, distribution=METHODS[words.method])))
    weights = sum(weight.nbytes for weight in model.parameters()) / MIB
    masks = sum(mask.nbytes for mask in net.masks.values()) / MIB
    own = list(model.model.layers[0].parameters())
    block = sum(weight.nbytes + weight.numel() for weight in own) / MIB
    widths = [weight.shape[1] for weight in own if weight.ndim == 2]
    grams = words.method == "sparsegpt"
    algebra = sum(4 * width**2 for width in widths) + 3 * 8 * max(widths) ** 2 if grams else 0
    print(
        f"{words.method:10s} {weights:7.0f} {masks:7.0f} {block:10.0f} {probe.kept_mebibytes:11.0f} "
        f"{algebra / MIB:8.0f}  |  {peak() - before - masks:5.0f} {words.how}"
    )


def peak() -> float:
    """Largest resident memory of this process so far, in mebibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
