"""Synaptic flow: by hand, against closed forms, conserved, and through every kind of net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from smc_eval.errors import SparsityError
from smc_eval.sparse.flow import flow
from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import on_paths
from smc_eval.tasks.arithmetic.word_problems import WordProblems
from smc_eval.testing import Toy

IDS = torch.randint(5, 50, (3, 7), generator=torch.Generator().manual_seed(0))
REAL = torch.ones(3, 7, dtype=torch.long)
REAL[1, 4:] = 0
SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def matrices(model: nn.Module) -> list[str]:
    return [name for name, weight in model.named_parameters() if weight.ndim >= 2]


def flows(model: nn.Module, outputs: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    return flow(model, matrices(model), outputs)


def sums(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(values.sum()) for name, values in tensors.items()}


def roberta(attention: str = "sdpa", layers: int = 2) -> nn.Module:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    config = RobertaConfig(
        num_hidden_layers=layers, type_vocab_size=1, attn_implementation=attention, **SMALL
    )
    return RobertaForSequenceClassification(config)


def logits(ids: Tensor = IDS, real: Tensor = REAL) -> Callable[[Any], Tensor]:
    return lambda model: model(input_ids=ids, attention_mask=real).logits.log_softmax(-1)


def translation_outputs(model: Any) -> Tensor:
    result = model(input_ids=IDS, attention_mask=REAL, labels=IDS).logits
    return cast("Tensor", result.log_softmax(-1))


def mbart(attention: str) -> nn.Module:
    from transformers import MBartConfig, MBartForConditionalGeneration

    sizes: Any = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}
    both: Any = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in sizes.items()}
    both |= {"vocab_size": 50, "d_model": 16, "max_position_embeddings": 40}
    return MBartForConditionalGeneration(MBartConfig(**both, attn_implementation=attention))


def t5(activation: str) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes: Any = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(
        T5Config(**sizes, decoder_start_token_id=0, feed_forward_proj=activation)
    )


def esm() -> nn.Module:
    from transformers import EsmConfig, EsmForSequenceClassification

    kind: Any = {"position_embedding_type": "rotary", "mask_token_id": 3, "pad_token_id": 1}
    model: Any = EsmForSequenceClassification(EsmConfig(num_hidden_layers=2, **SMALL, **kind))
    model.esm.contact_head = None  # not used by its outputs
    return cast("nn.Module", model)


class Plain(nn.Module):
    """torch's own encoder and cells: attention with and without its weights, a GLU."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        )
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.gate = nn.Linear(16, 16)
        self.lstm, self.gru = nn.LSTMCell(8, 8), nn.GRUCell(8, 8)

    def forward(self, ids: Tensor) -> Tensor:
        read = self.layers(self.table(ids), src_key_padding_mask=REAL == 0)
        gated = nn.functional.glu(self.gate(self.attention(read, read, read)[0]))
        state = None
        for step in range(3):
            state = self.lstm(gated[:, step], state)
        assert state is not None
        return cast("Tensor", self.gru(gated[:, 3], state[0]))


def solver(title: str) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    from smc_eval.registry import registry

    kind = cast("type[WordProblems]", registry().tasks[title])
    task = kind(backbone="scratch", fold=0, hidden=8, embedding=6)
    batch = task.collate(task.data("train")[:40])
    return task.model(), lambda model: task.loss_and_outputs(model, batch)[1]


def toy() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    task = Toy()
    batch = task.collate(task.data("train")[:4])
    return task.model(), lambda model: task.loss_and_outputs(model, batch)[1]


NETS: dict[str, Callable[[], tuple[nn.Module, Callable[[nn.Module], Tensor]]]] = {
    "toy": toy,
    "gts": lambda: solver("mawps/gts"),
    "graph2tree": lambda: solver("mawps/graph2tree"),
    "roberta, eager": lambda: (roberta("eager"), logits()),
    "roberta, sdpa": lambda: (roberta("sdpa"), logits()),
    "mbart, eager": lambda: (mbart("eager"), translation_outputs),
    "mbart, sdpa": lambda: (mbart("sdpa"), translation_outputs),
    "t5": lambda: (t5("relu"), translation_outputs),
    "t5, gated": lambda: (t5("gated-gelu"), translation_outputs),
    "esm, rotary": lambda: (esm(), logits()),
    "torch's own": lambda: (Plain(), lambda model: model(IDS)),
}


@pytest.mark.parametrize("title", NETS)
def test_every_weight_matrix_has_a_finite_flow_and_the_net_is_unchanged(title: str) -> None:
    torch.manual_seed(0)
    model, outputs = NETS[title]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    expected = outputs(model)
    model.train()
    found = flows(model, outputs)
    assert list(found) == matrices(model)
    for name, values in found.items():
        assert bool(values.isfinite().all()) and bool((values >= 0).all()) and bool(values.any()), name
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training and all(weight.grad is None for weight in model.parameters())
    model.eval()
    assert torch.equal(outputs(model), expected)  # the shadow changed no buffer or cache of the net


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.LeakyReLU(), nn.Dropout(0.9)]
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_flow_of_two_layers_by_hand(activation: nn.Module, *, bias: bool) -> None:
    first, second = nn.Linear(2, 2, bias=bias), nn.Linear(2, 1, bias=bias)
    model = nn.Sequential(first, activation, second)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        second.weight.copy_(torch.tensor([[-5.0, 6.0]]))
    found = flows(model, lambda shadow: shadow(torch.tensor([[0.1, -7.0]])))
    # ones give |W1| 1 = (3, 7), and R = 5 * 3 + 6 * 7 = 57
    assert found["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert found["2.weight"].tolist() == [[15.0, 42.0]]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 1000))
def test_the_flow_of_a_chain_has_a_closed_form_and_equal_sums_in_all_layers(
    widths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    found = list(flows(model, lambda shadow: shadow(torch.randn(1, widths[0]))).values())
    sizes = [layer.weight.detach().double().abs() for layer in layers]
    for place, values in enumerate(found):
        ahead, behind = torch.ones(widths[0]).double(), torch.ones(widths[-1]).double()
        for size in sizes[:place]:
            ahead = size @ ahead
        for size in reversed(sizes[place + 1 :]):
            behind = behind @ size
        torch.testing.assert_close(values, behind[:, None] * sizes[place] * ahead)
        assert float(values.sum()) == pytest.approx(float(found[0].sum()))


class Centred(nn.Module):
    """A layer norm written out, as in Graph2Tree."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.bias


class Rooted(Centred):
    """A root mean square norm written out, as in T5."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6))


@pytest.mark.parametrize(
    "middle",
    [nn.LayerNorm(4), nn.RMSNorm(4), Centred(4), Rooted(4), nn.Tanh(), nn.Sigmoid(), nn.Softmax(-1)],
    ids=lambda module: type(module).__name__,
)
def test_norms_and_bounded_activations_conserve_the_flow(middle: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), middle, nn.Linear(4, 2), nn.LogSoftmax(-1))
    found = sums(flows(model, lambda shadow: shadow(torch.randn(5, 3))))
    assert found["0.weight"] == pytest.approx(found["2.weight"]) and found["0.weight"] > 0


def test_convolutions_and_their_norms_conserve_the_flow() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.Conv2d(4, 6, 3),
        nn.GroupNorm(2, 6),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    found = list(sums(flows(model, lambda shadow: shadow(torch.randn(2, 3, 8, 8)))).values())
    assert len(found) == 3 and found == pytest.approx([found[0]] * 3)


class Reader(nn.Module):
    """An embedding, a recurrent net of two layers and both directions, and an output layer."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 5)
        self.net = kind(5, 4, 2, bidirectional=True, batch_first=True, **options)  # type: ignore[arg-type]
        self.out = nn.Linear(2 * (options.get("proj_size") or 4), 3)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.table(ids), lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.net(packed)[0], batch_first=True)[0]
        return cast("Tensor", self.out(states))


KINDS = [(nn.RNN, {}), (nn.GRU, {}), (nn.LSTM, {}), (nn.LSTM, {"proj_size": 3})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_input_weights_of_each_recurrent_layer_carry_the_whole_flow(kind: Any, options: Any) -> None:
    torch.manual_seed(0)
    found = sums(flows(Reader(kind, **options), lambda m: m(IDS, torch.tensor([7, 4, 6]))))
    total = found["out.weight"]
    assert found["table.weight"] == pytest.approx(total)
    for layer in (0, 1):
        both = found[f"net.weight_ih_l{layer}"] + found[f"net.weight_ih_l{layer}_reverse"]
        assert both == pytest.approx(total)
        if options:
            ends = ("", "_reverse")
            assert sum(found[f"net.weight_hr_l{layer}{end}"] for end in ends) > total  # at every step


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_flow_of_packed_sequences_is_the_sum_over_sequences(kind: Any, options: Any) -> None:
    torch.manual_seed(0)
    model, lengths = Reader(kind, **options), [4, 7, 6]

    def alone(row: int, shadow: Any) -> Tensor:
        states = shadow.net(shadow.table(IDS[row, : lengths[row]]))[0]  # unbatched, not packed
        return cast("Tensor", shadow.out(states))

    together = flows(model, lambda m: m(IDS, torch.tensor(lengths)))
    parts = [flows(model, partial(alone, row)) for row in range(3)]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.stack([part[name] for part in parts]).sum(0))


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_given_first_state_carries_flow(kind: Any) -> None:
    torch.manual_seed(0)
    ahead, behind, out = kind(5, 4, batch_first=True), kind(5, 4, batch_first=True), nn.Linear(4, 2)
    model = nn.ModuleList([ahead, behind, out])

    def outputs(shadow: Any) -> Tensor:
        first, second = torch.randn(2, 3, 5), torch.randn(2, 1, 5)
        return cast("Tensor", shadow[2](shadow[1](second, shadow[0](first)[1])[0]))

    found = flows(model, outputs)
    assert bool(found["0.weight_ih_l0"].all())
    # one step: every path starts at its input or at the first state, which the other net returned
    assert float(found["1.weight_ih_l0"].sum() + found["1.weight_hh_l0"].sum()) == pytest.approx(
        float(found["2.weight"].sum())
    )
    assert float(found["0.weight_ih_l0"].sum()) == pytest.approx(float(found["1.weight_hh_l0"].sum()))


def test_matrices_of_a_transformer_branch_carry_equal_flow() -> None:
    model = roberta()
    found = sums(flows(model, logits()))
    for number in (0, 1):
        layer = f"roberta.encoder.layer.{number}"
        matrix_names = [f"{layer}.attention.self.{part}.weight" for part in ("query", "key", "value")]
        matrix_names += [f"{layer}.attention.output.dense.weight"]
        assert [found[name] for name in matrix_names] == pytest.approx([found[matrix_names[0]]] * 4)
        wide, narrow = found[f"{layer}.intermediate.dense.weight"], found[f"{layer}.output.dense.weight"]
        assert wide == pytest.approx(narrow)
    assert found["classifier.dense.weight"] == pytest.approx(found["classifier.out_proj.weight"])


def test_fused_attention_has_the_flow_of_written_out_attention_and_padding_has_none() -> None:
    plain, fused = flows(roberta("eager"), logits()), flows(roberta("sdpa"), logits())
    pad = torch.ones(3, 4, dtype=torch.long)
    padded = flows(roberta("sdpa"), logits(torch.cat([IDS, pad], 1), torch.cat([REAL, 0 * pad], 1)))
    for name, values in plain.items():
        torch.testing.assert_close(fused[name], values, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(padded[name], values, rtol=1e-9, atol=1e-12)


def test_the_flow_depends_on_the_shape_of_a_batch_and_on_no_value() -> None:
    first, second = flows(roberta(), logits()), flows(roberta(), logits(ids=IDS.flip(0, 1)))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_flow_of_24_layers_neither_overflows_nor_vanishes() -> None:
    found = flows(roberta(layers=24), logits())
    assert all(0 < values.sum() < 1e6 for values in found.values())


def test_a_flow_beyond_single_precision_is_computed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(50)))
    found = sums(flows(model, lambda shadow: shadow(torch.ones(1, 256))))
    assert torch.finfo(torch.float32).max < found["0.weight"] < torch.inf
    assert list(found.values()) == pytest.approx([found["0.weight"]] * 50)


def test_the_net_is_unchanged_when_its_outputs_fail() -> None:
    model = roberta()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def failing(shadow: nn.Module) -> Tensor:
        logits()(shadow)
        raise KeyError

    with pytest.raises(KeyError):
        flows(model, failing)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert float(torch.relu(torch.tensor(-1.0))) == 0


def test_unused_weights_are_left_out_and_a_net_without_flow_is_refused() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    assert list(flows(model, lambda shadow: shadow.get_submodule("0")(torch.ones(1, 2)))) == ["0.weight"]
    with pytest.raises(SparsityError, match="nothing flows through ModuleList"):
        flows(model, lambda _: torch.ones(1))


def test_pruned_weights_carry_no_flow() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    model = nn.Sequential(first, second)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        second.weight.copy_(torch.tensor([[1.0, 1.0]]))
    found = flows(model, lambda shadow: shadow(torch.ones(1, 2)))
    assert found["0.weight"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert found["1.weight"].tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("title", NETS)
def test_in_an_unpruned_net_of_any_kind_every_weight_lies_on_a_path(title: str) -> None:
    torch.manual_seed(0)
    model, outputs = NETS[title]()
    constants = {"tree.constants"}  # learned, but on no path from an input
    net = Net(model, [name for name in matrices(model) if name not in constants])
    net.set_masks(net.full_masks)
    found = on_paths(net, outputs)
    assert found is not None and all(bool(mask.all()) for mask in found.values())
    net.set_masks({name: torch.zeros_like(mask) for name, mask in net.full_masks.items()})
    nothing = on_paths(net, outputs)
    assert nothing is not None and not any(mask.any() for mask in nothing.values())
