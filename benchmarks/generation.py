"""Batches in beam search: their rate beside one sentence at a time.

    python benchmarks/generation.py --data-dir DIR --corpus ntrex

Sentences of every length are translated by beam search with five beams, in the engine's batches and one by
one, in turns. The result is the median ratio of turns. The net trains for some steps first, so that its texts
differ; it cannot end them yet, so they end after `--tokens` tokens. The texts of both ways must be equal. A
batch saves the fixed cost of each step, but no arithmetic on one thread: the more arithmetic a net has, the
less a batch saves.
"""

from __future__ import annotations

from statistics import median

from engine import new_training
from real import clock, label, parse_args, tasks

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict

LIMIT = 8.0
"""Target: smallest multiple of the rate one by one."""


def main() -> None:
    """Translate in both ways; exit with 1 if the ratio is below the target or texts differ."""
    args = parse_args(__doc__, translator="tiny", steps=200, tokens=40, turns=5)
    device = Device("cpu", threads=args.threads)
    task = tasks(args)[-1].replace(longest=args.tokens)
    training = new_training(task, device)
    for _ in range(args.steps):
        training._advance()  # noqa: SLF001  # the loop without files and progress
    model, size = training.net.model, task.recipe.eval_batch_size
    test = sorted(task.data("test"), key=lambda example: task.side_lengths(example)[0])
    texts, same, ratios = set[str](), 0, list[float]()
    for turn in range(args.turns + 1):  # the first is not counted
        first = max(0, turn - 1) * (len(test) - size) // max(1, args.turns - 1)
        batch, began = test[first : first + size], clock()
        together = predict(task, model, batch, task.recipe, device)
        between = clock()
        alone = [text for example in batch for text in predict(task, model, [example], task.recipe, device)]
        ratios.append((clock() - between) / (between - began))
        texts |= {*alone}
        same += together == alone
    ratio = median(ratios[1:])
    print(
        f"{label(task)}: batches of {size}, {len(texts)} different texts\n"
        f"  {ratio:.1f} times the rate one by one, from {min(ratios[1:]):.1f} to {max(ratios[1:]):.1f}; "
        f"target {LIMIT:g}; texts equal in {same} of {len(ratios)} turns"
    )
    raise SystemExit(ratio < LIMIT or same < len(ratios))


if __name__ == "__main__":
    main()
