"""The block walk: a section sees what the whole net with the pruned sections before it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MBartConfig,
    MBartForConditionalGeneration,
    OPTConfig,
    OPTForCausalLM,
)

from smc_eval.capabilities import excluded
from smc_eval.engine.batches import Batches
from smc_eval.engine.block_walk import BlockWalk
from smc_eval.engine.device import Device
from smc_eval.engine.input_passes import InputPasses
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError, SparsityError
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.task import Part, Task
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.translation import TwoToTwo
from smc_eval.testing import Toy

BATCHES = 3


class Words(Toy):
    """Sentences of two lengths, in batches with padding."""

    net: Any = None

    def data(self, part: Part) -> Sequence[Any]:
        return [(tokens[: 3 + 2 * (n % 2)], answer) for n, (tokens, answer) in enumerate(super().data(part))]

    def model(self) -> nn.Module:
        return cast("nn.Module", self.net())

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        longest = max(len(tokens) for tokens, _ in examples)
        return {
            "tokens": torch.tensor([[*t, *[0] * (longest - len(t))] for t, _ in examples]),
            "mask": torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t, _ in examples]),
            "answers": torch.tensor([answer for _, answer in examples]),
        }

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"], batch["mask"]).log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch["answers"]), log_NC


class Pairs(Words):
    """Two sentences make an example: the net has padding within an example."""

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        made = super().collate([*examples, ((1, 2, 3, 4, 5, 6), 0), ((1, 2), 0)])
        tokens_NL, mask_NL = made["tokens"], made["mask"]
        return {**made, "tokens": tokens_NL, "mask": mask_NL, "answers": made["answers"]}


class Read(nn.Module):
    """Any body under a map of its last state."""

    def __init__(self, body: nn.Module, **arguments: Any) -> None:
        super().__init__()
        self.body, self.out, self.arguments = body, nn.Linear(16, 12), arguments

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        made = self.body(input_ids=tokens_NL, attention_mask=mask_NL, **self.arguments)
        logits: Tensor = self.out(made[0].mean(1))
        return logits


SIZES: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}


def bert() -> nn.Module:
    return Read(BertModel(BertConfig(**SIZES, intermediate_size=24)))


def llama() -> nn.Module:
    config = LlamaConfig(**SIZES, intermediate_size=24, num_key_value_heads=1)
    return Read(LlamaForCausalLM(config).model)


def opt() -> nn.Module:
    config = OPTConfig(**SIZES, ffn_dim=24, max_position_embeddings=16)
    return Read(OPTForCausalLM(config).model)


class Translating(nn.Module):
    """An encoder-decoder that reads and writes the same words."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MBartForConditionalGeneration(
            MBartConfig(
                vocab_size=12, d_model=16, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=20,
                pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
            )
        )  # fmt: skip

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        made = self.body(input_ids=tokens_NL, attention_mask=mask_NL, labels=tokens_NL)
        return cast("Tensor", made.logits.mean(1))


class Handmade(nn.Module):
    """Maps before, in, between and after blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 6)
        self.before = nn.Linear(6, 8)
        self.after = nn.Linear(8, 12)
        self.between = nn.Linear(8, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 8)) for _ in range(4)
        )

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        x = self.before(self.words(tokens_NL)) * mask_NL[..., None]
        return cast("Tensor", self.after(self.run(x).mean(1)))

    def run(self, x: Tensor) -> Tensor:
        for at, block in enumerate(self.blocks):
            x = block(x) + (self.between(x) if at == 1 else 0)
        return x


class Chain(Handmade):
    """One block after the other, with a map between two of them."""

    def run(self, x: Tensor) -> Tensor:
        for at, block in enumerate(self.blocks):
            x = self.between(x).tanh() if at == 2 else x
            x = block(x)
        return x


class Skips(Handmade):
    """The last blocks read the outputs of the first ones, as in a U-Net."""

    def run(self, x: Tensor) -> Tensor:
        one = self.blocks[0](x)
        two = self.blocks[1](one)
        return cast("Tensor", self.blocks[3](self.blocks[2](two) + two) + one + self.between(two))


class Loops(Handmade):
    """The blocks run twice."""

    def run(self, x: Tensor) -> Tensor:
        for block in (*self.blocks, *self.blocks):
            x = block(x)
        return cast("Tensor", self.between(x))


class Remembers(Handmade):
    """The first block leaves something behind that the third one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, Tensor] = {}

    def run(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.blocks
        hook = first.register_forward_hook(lambda _, __, output: self.memory.update(left=output))
        wide = third.register_forward_pre_hook(lambda _, args: (args[0] + self.memory["left"],))
        try:
            x = fourth(third(second(first(x).tanh())))
        finally:
            self.clear(hook, wide)
        return cast("Tensor", self.between(x))

    def clear(self, *hooks: Any) -> None:
        for hook in hooks:
            hook.remove()


class Leaves(nn.Sequential):
    """A block with a memory that others can read."""

    left: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.left = x * 2
        return cast("Tensor", super().forward(x))


class Reads(nn.Sequential):
    """A block that reads the memory of another."""

    source: list[Leaves]

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", super().forward(x + self.source[0].left))


class Stateful(Handmade):
    """Blocks with a memory, read inside a later block."""

    def __init__(self) -> None:
        super().__init__()
        first, third = Leaves(nn.Linear(8, 8), nn.Tanh()), Reads(nn.Linear(8, 8))
        third.source = [first]
        second = Leaves(nn.Linear(8, 8), nn.Tanh())
        fourth = Reads(nn.Linear(8, 8))
        fourth.source = [second]
        self.blocks = nn.ModuleList([first, second, third, fourth])

    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.between(x))


class Adds(nn.Module):
    """A block that writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> None:
        x += self.map(x).tanh()


class InPlace(Handmade):
    """Blocks that return nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Adds() for _ in range(3))

    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            block(x)
        return cast("Tensor", self.between(x))


class Shared(Handmade):
    """Each block gets a map of the outside, and uses it."""

    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block[2](block[1](block[0](x))) + self.between(x)
        return x


class Inside(nn.Sequential):
    """A block that uses a map of the outside."""

    def forward(self, x: Tensor, outside: nn.Module | None = None) -> Tensor:
        made = super().forward(x)
        return cast("Tensor", made if outside is None else made + outside(x))


class Lent(Handmade):
    """All blocks but the first use a map of the outside."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Inside(nn.Linear(8, 8), nn.Tanh()) for _ in range(4))

    def run(self, x: Tensor) -> Tensor:
        for at, block in enumerate(self.blocks):
            x = block(x, self.between if at else None)
        return x


class Mixes(Handmade):
    """The head reads the outputs of all blocks."""

    def run(self, x: Tensor) -> Tensor:
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return cast("Tensor", self.between(torch.stack(outputs).mean(0)))


class Tied(Handmade):
    """The first and the last block have a matrix in common."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks[3][0].weight = self.blocks[0][0].weight

    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


NETS: dict[str, Callable[[], nn.Module]] = {
    "BERT": bert,
    "Llama": llama,
    "OPT": opt,
    "mBART": Translating,
    **{net.__name__: net for net in (Handmade, Chain, Skips, Loops, Remembers, Stateful)},
    **{net.__name__: net for net in (InPlace, Shared, Lent, Mixes, Tied)},
}


class Uneven(TwoToTwo):
    """Sentences of different lengths on both sides."""

    def data(self, part: Part) -> Sequence[Sentence]:
        return [
            replace(
                sentence,
                source=" ".join(sentence.source.split()[: 1 + n % 4]),
                target=" ".join(sentence.target.split()[: 1 + n // 2 % 3]),
            )
            for n, sentence in enumerate(super().data(part))
        ]


def task_of(name: str) -> Task:
    if name == "CSQA":
        return Csqa(limit=6)
    if name == "translation":
        return Uneven(limit=12)
    made = Pairs() if name.endswith("pairs") else Words()
    return made.model_copy(update={"net": NETS[name.removesuffix(" pairs")]})


def probe_of(task: Task, scope: Any = "body") -> NetProbe:
    """A probe over the net of a task: the same net at each call."""
    device = Device("cpu", threads=1)
    device.seed("net")
    model = task.model()
    with torch.no_grad():  # biases and norms of untrained nets would hide differences
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    recipe = task.recipe.model_copy(update={"precision": "fp32"})
    net = Net(model, in_scope(model, scope, excluded(task, model)))
    return NetProbe(net, Batches(task, recipe, "start", device), "stage", Usage(), device)


class Rows:
    """An observer that keeps everything."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.rows = set(names), list[tuple[Any, ...]]()

    def __call__(self, name: str, region: Any, x_NI: Tensor) -> None:
        if name in self.names:
            self.rows.append((name, str(region), x_NI.clone()))


def new_of(probe: NetProbe, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A mask and new values for some weights, by chance."""
    generator = torch.Generator().manual_seed(len(names[0]))
    weights = probe.weights
    masks = {name: torch.rand(weights[name].shape, generator=generator) > 0.4 for name in names}
    return masks, {name: weights[name] * 1.1 for name in names[::2]}


def walked(task: Task, scope: Any = "body") -> list[tuple[Sequence[str], list[tuple[Any, ...]]]]:
    """What each section of a walk sees; every second one looks twice."""
    probe, seen = probe_of(task, scope), []
    for at, section in enumerate(probe.walk(BATCHES)):
        looks = [Rows(section.names) for _ in range(1 + at % 2)]
        for rows in looks:
            section.inputs(rows)
        assert all(same(rows.rows, looks[0].rows) for rows in looks)
        seen.append((section.names, looks[0].rows))
        section.settle(*new_of(probe, section.names))
    return seen


def same(first: Sequence[tuple[Any, ...]], second: Sequence[tuple[Any, ...]]) -> bool:
    """Whether the same inputs came in the same order."""
    return [row[:2] for row in first] == [row[:2] for row in second] and all(
        torch.equal(one[2], other[2]) for one, other in zip(first, second, strict=True)
    )


def stated(task: Task, sections: Sequence[Sequence[str]], scope: Any = "body") -> list[list[tuple[Any, ...]]]:
    """The plain statement: passes through the whole net, in which all sections before are pruned."""
    probe, seen = probe_of(task, scope), []
    for names in sections:
        rows = Rows(names)
        probe.inputs(BATCHES, rows)
        seen.append(rows.rows)
        masks, values = new_of(probe, names)
        probe.mend(values)
        probe.set_masks({**probe.masks, **masks})
    return seen


class Careless(Handmade):
    """A net that restores nothing where a pass ends early: its scale then grows from pass to pass."""

    scale = 1.0

    def run(self, x: Tensor) -> Tensor:
        self.scale *= 2
        for block in self.blocks:
            x = block(x * self.scale)
        self.scale /= 2
        return x


def test_a_net_that_early_ends_of_passes_harm_is_refused() -> None:
    probe = probe_of(Words().model_copy(update={"net": Careless}))
    with pytest.raises(SparsityError, match=r"a pass that ends early changes what '[a-z0-9.]*' gets"):
        next(iter(probe.walk(BATCHES)))


ROUTES = {
    "BERT": ["", "", "layer.0", "layer.1", "layer.2"],
    "mBART": ["", "", "encoder.layers.0", *["encoder.layers.1"] * 2, "decoder.layers.0", "decoder.layers.1"],
    "Loops": ["", None, None, None, None, None],
    "Stateful": ["", "", "blocks.0", None, None, "blocks.3"],
    "InPlace": ["", "", None, None, None],
    "Tied": ["", None, "blocks.0", "blocks.1", "blocks.2", "blocks.3"],
}
"""Of each section the last block whose kept outputs are read; None: its passes begin at the start."""


@pytest.mark.parametrize("name", ROUTES)
def test_passes_begin_behind_the_last_pruned_block_wherever_that_shows_the_same(name: str) -> None:
    probe = probe_of(task_of(name), "all-2d")
    reads = [section.plan.route.reads for section in probe.walk(BATCHES)]
    for wanted, blocks in zip(ROUTES[name], reads, strict=True):
        assert (blocks is None) == (wanted is None)
        if wanted:
            assert any(block.endswith(wanted) for block in blocks or ()), blocks
        assert len(blocks or ()) <= 2


def test_only_the_outputs_of_one_block_are_kept_and_of_the_first_of_two_stacks() -> None:
    for name, stacks in (("BERT", 1), ("Llama", 1), ("mBART", 2)):
        probe = probe_of(task_of(name))
        passes = InputPasses(probe.net, probe._batches, BATCHES, "stage", probe._device)
        walk = BlockWalk(passes, probe._meter, probe._settle)
        for section in walk.sections():
            section.inputs(Rows(section.names))
        # 24 examples of 3 or 5 tokens of 16 numbers; the decoder has them too
        tokens = sum(len(probe._batches.examples[place][0]) for places in passes.places for place in places)
        assert walk.kept_bytes == stacks * tokens * 16 * 4


def test_a_section_is_observed_and_settled_in_its_turn() -> None:
    probe = probe_of(task_of("Chain"))
    walk = probe.walk(BATCHES)
    first = next(walk)
    masks, values = new_of(probe, first.names)
    with pytest.raises(PluginError, match=r"settled with masks of other weights than its own; .*: 'other'"):
        first.settle({**masks, "other": masks[first.names[0]]})
    with pytest.raises(PluginError, match=r"settled with values of other weights than its own"):
        first.settle(masks, {"other": masks[first.names[0]]})
    first.settle(masks, values)
    for act in (lambda: first.settle(masks), lambda: first.inputs(Rows(()))):
        with pytest.raises(PluginError, match="after it was settled; settle each section once, in order"):
            act()
    second = next(walk)
    next(walk)
    with pytest.raises(PluginError, match="was observed when the walk had gone on"):
        second.inputs(Rows(()))


def test_writing_into_the_net_between_two_sections_is_noticed() -> None:
    probe = probe_of(task_of("Chain"))
    section = next(probe.walk(BATCHES))
    probe.weights[section.names[0]].add_(1)
    with pytest.raises(SparsityError, match="wrote into 'before.weight' of probe.weights"):
        section.settle(new_of(probe, section.names)[0])


def test_a_net_without_blocks_is_one_section_that_sees_what_inputs_show() -> None:
    probe, other = probe_of(Toy()), probe_of(Toy())
    for section in probe.walk(BATCHES):
        rows, wanted = Rows(section.names), Rows(section.names)
        section.inputs(rows)
        other.inputs(BATCHES, wanted)
        assert same(rows.rows, wanted.rows) and set(section.names) == set(probe.weights)
    assert probe._usage.scoring_passes == other._usage.scoring_passes == BATCHES


@pytest.mark.parametrize("name", [*NETS, "BERT pairs", "mBART pairs", "Chain pairs", "CSQA", "translation"])
@pytest.mark.parametrize("scope", ["body", "all-2d"])
def test_a_section_sees_what_the_whole_net_shows(name: str, scope: str) -> None:
    task = task_of(name)
    seen = walked(task, scope)
    wanted = stated(task, [names for names, _ in seen], scope)
    assert sorted(each for names, _ in seen for each in names) == sorted(probe_of(task, scope).weights)
    for (names, rows), expected in zip(seen, wanted, strict=True):
        assert same(rows, expected), names
    assert any(rows for _, rows in seen)
