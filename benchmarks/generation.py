"""What batches spare when translations are written: their rate beside one sentence at a time.

    python benchmarks/generation.py --data-dir DIR --corpus ntrex

Sentences of every length are translated by beam search with five beams, in the engine's batches and one by
one, in turns; reported is the median ratio of turns. The net has trained for so many steps that it does not
say the same of everything; as it knows no end yet, it is stopped after so many tokens. The texts must be
the same. A batch spares what each step costs whatever it computes, and on one thread no arithmetic: the more
of that a net has, the less is spared.
"""

from __future__ import annotations

from statistics import median

from engine import begun
from real import asked, clock, label, tasks

from smc_eval.engine.batches import predict
from smc_eval.engine.device import Device

LIMIT = 8.0
"""What the project promises, as a multiple of the rate one by one."""


def main() -> None:
    """Translate in both ways; end with 1 where batches spare less than promised or texts differ."""
    said = asked(__doc__, translator="tiny", steps=200, tokens=40, turns=5)
    device = Device("cpu", threads=said.threads)
    task = tasks(said)[-1].replace(longest=said.tokens)
    training = begun(task, device)
    for _ in range(said.steps):
        training._advance()  # noqa: SLF001  # the loop without its files and screen
    model, size = training.net.model, task.recipe.eval_batch_size
    test = sorted(task.data("test"), key=lambda one: task.side_lengths(one)[0])
    texts, same, ratios = set[str](), 0, list[float]()
    for turn in range(said.turns + 1):  # the first is left out
        first = max(0, turn - 1) * (len(test) - size) // max(1, said.turns - 1)
        batch, began = test[first : first + size], clock()
        together = predict(task, model, batch, task.recipe, device)
        between = clock()
        alone = [text for one in batch for text in predict(task, model, [one], task.recipe, device)]
        ratios.append((clock() - between) / (between - began))
        texts |= {*alone}
        same += together == alone
    ratio = median(ratios[1:])
    print(
        f"{label(task)}: batches of {size}, {len(texts)} different texts\n"
        f"  {ratio:.1f} times the rate one by one, from {min(ratios[1:]):.1f} to {max(ratios[1:]):.1f}; "
        f"promised {LIMIT:g}; texts alike in {same} of {len(ratios)} turns"
    )
    raise SystemExit(ratio < LIMIT or same < len(ratios))


if __name__ == "__main__":
    main()
