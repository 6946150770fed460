"""Observed inputs of weights: of linear maps, slices, tied weights, recurrent layers and attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModel, BartConfig, RobertaConfig
from transformers.pytorch_utils import Conv1D

from smc_eval.capabilities import excluded
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import SparsityError
from smc_eval.sparse import patches
from smc_eval.sparse.input_stats import Grams, Squares
from smc_eval.sparse.inputs import observing
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.tasks.arithmetic.datasets import MawpsGraph2Tree, MawpsGts
from smc_eval.tasks.arithmetic.sequence import BiLSTM, pack
from smc_eval.testing import Toy

WHOLE = slice(None)


def observed(model: nn.Module, run: Callable[[], Any]) -> dict[tuple[str, str], list[Tensor]]:
    """All rows observed during `run`, by weight and region: 'weight', '0:2, 1:3'."""
    rows: dict[tuple[str, str], list[Tensor]] = {}
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim >= 2}

    def observer(name: str, region: tuple[slice, slice], x_NI: Tensor) -> None:
        assert weights[name].flatten(1)[region].shape[1] == x_NI.shape[1]
        text = ", ".join(f"{part.start}:{part.stop}" for part in region)
        rows.setdefault((name, text), []).append(x_NI)

    with torch.no_grad(), observing(model.eval(), weights, observer):
        run()
    return rows


def joined(inputs: Mapping[tuple[str, str], list[Tensor]]) -> dict[str, Tensor]:
    """Rows by weight, of nets that multiply by whole weights only."""
    return {name: torch.cat(rows) for (name, _), rows in inputs.items()}


def as_lists(inputs: Mapping[tuple[str, str], list[Tensor]]) -> dict[tuple[str, str], list[Any]]:
    return {key: [x.tolist() for x in rows] for key, rows in inputs.items()}


# linear maps


def test_a_linear_layer_used_twice_has_both_inputs_and_an_unused_one_has_none() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 3), "idle": nn.Linear(2, 3)})
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[[3.0, 4.0], [5.0, 6.0]]])
    found = observed(net, lambda: (net["a"](first), net["a"](second)))
    assert as_lists(found) == {("a.weight", "0:3, 0:2"): [[[1, 2]], [[3, 4], [5, 6]]]}


def test_a_slice_of_a_weight_is_reported_with_its_rows_and_columns() -> None:
    net, x_22, x_11 = nn.Linear(3, 4), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0]])

    def run() -> None:
        F.linear(x_22, net.weight[:, :2])
        F.linear(x_11, net.weight[1:3, 2:])
        F.linear(x_22, weight=net.weight[3:, 1:], bias=None)

    assert as_lists(observed(net, run)) == {
        ("weight", "0:4, 0:2"): [[[1, 2], [3, 4]]],
        ("weight", "1:3, 2:3"): [[[5]]],
        ("weight", "3:4, 1:3"): [[[1, 2], [3, 4]]],
    }


def test_tied_weights_are_reported_under_their_canonical_name() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(5, 2), nn.Linear(2, 5, bias=False)
            self.out.weight = self.words.weight

    net, x = Tied(), torch.tensor([[1.0, 2.0]])
    assert as_lists(observed(net, lambda: (net.words(torch.tensor([1])), net.out(x)))) == {
        ("words.weight", "0:5, 0:2"): [[[1, 2]]]
    }


def test_products_with_transposed_weights_are_observed_and_those_with_copies_are_not() -> None:
    net, x_23 = nn.Linear(3, 3, bias=False), torch.arange(6.0).view(2, 3)
    weight = net.weight
    maps = [
        lambda: x_23 @ weight.t(),
        lambda: torch.matmul(x_23, weight.T),
        lambda: x_23.mm(weight.t()),
        lambda: torch.addmm(x_23, x_23, weight.t()),
    ]
    for run in maps:
        assert as_lists(observed(net, run)) == {("weight", "0:3, 0:3"): [x_23.tolist()]}
    others = [
        lambda: x_23 @ weight,  # rows of the weight are no outputs here
        lambda: F.linear(x_23, weight.clone()),
        lambda: F.linear(x_23, weight.t()),
        lambda: torch.einsum("ni,oi->no", x_23, weight),
    ]
    for run in others:
        assert observed(net, run) == {}


def test_a_kernel_is_reported_as_rows_of_all_its_columns() -> None:
    class Kernel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 2, 3))

    net, x_16 = Kernel(), torch.arange(6.0).view(1, 6)
    found = observed(net, lambda: F.linear(x_16, net.weight.flatten(1)))
    assert as_lists(found) == {("weight", "0:4, 0:6"): [x_16.tolist()]}


def test_observing_changes_no_output_and_ends_completely() -> None:
    net, x = nn.GRU(3, 4, 2), torch.randn(5, 2, 3)
    expected, shown = net(x)[0], []
    weights = {name: weight for name, weight in net.named_parameters() if weight.ndim == 2}
    with torch.no_grad(), observing(net, weights, lambda name, *_: shown.append(name)):
        assert torch.equal(net(x)[0], expected)
    with pytest.raises(ValueError, match="stop"), observing(net, weights, lambda *_: None):
        raise ValueError("stop")
    number = len(shown)
    net(x)
    assert len(shown) == number == 4  # two weights in each of two layers


# convolutions


def by_torch(x: Tensor, conv: nn.Conv1d | nn.Conv2d) -> Tensor:
    """The patches of a convolution by `F.unfold`, as [groups, N * P, I * K]."""
    lift = (1,) if isinstance(conv, nn.Conv1d) else ()
    x = x if lift == () else x[:, :, None]
    widths = [(*(first for _ in lift), *each) for first, each in ((1, conv.kernel_size), (1, conv.dilation))]
    padding = (*(0 for _ in lift), *conv.padding)
    columns = F.unfold(x, widths[0], widths[1], padding, (*(1 for _ in lift), *conv.stride))
    return torch.cat(list(columns.unflatten(1, (conv.groups, -1))), -1).mT


CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1 x 1": (nn.Conv1d(6, 4, 1), (2, 6, 5)),
    "1 x 1 in groups": (nn.Conv1d(6, 4, 1, groups=2), (2, 6, 5)),
    "strided and padded": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 7)),
    "dilated": (nn.Conv1d(3, 4, 3, dilation=2), (2, 3, 9)),
    "by channel": (nn.Conv1d(4, 4, 3, padding=1, groups=4), (2, 4, 6)),
    "images": (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 3, 6, 7)),
    "images in groups": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_multiplies_the_patches_that_torch_unfolds(kind: str) -> None:
    conv, shape = CONVOLUTIONS[kind]
    assert isinstance(conv, (nn.Conv1d, nn.Conv2d))
    x = torch.randn(shape)
    found, expected = observed(conv, lambda: conv(x)), by_torch(x, conv)
    outputs, inputs = conv.out_channels // conv.groups, conv.weight[0].numel()
    assert list(found) == [
        ("weight", f"{g * outputs}:{(g + 1) * outputs}, 0:{inputs}") for g in range(conv.groups)
    ]
    for rows, expected_NI in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(torch.cat(rows), expected_NI.reshape(-1, inputs))
    # and their product is the output
    products = [
        torch.cat(rows) @ weight.flatten(1).T
        for rows, weight in zip(found.values(), conv.weight.chunk(conv.groups), strict=True)
    ]
    y = torch.cat(products, 1) + (conv.bias if conv.bias is not None else 0)
    torch.testing.assert_close(y, conv(x).flatten(2).mT.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_a_convolution_of_volumes_and_one_that_keeps_its_size_are_unfolded() -> None:
    for conv, x in (
        (nn.Conv3d(2, 3, (1, 2, 2), stride=(1, 1, 2)), torch.randn(2, 2, 3, 3, 4)),
        (nn.Conv1d(2, 3, 4, padding="same", dilation=2), torch.randn(2, 2, 9)),
        (nn.Conv1d(2, 3, 2, padding="valid"), torch.randn(2, 9)),  # one example, not in a batch
    ):
        (rows,) = observed(conv, lambda conv=conv, x=x: conv(x)).values()
        assert conv.bias is not None
        y = torch.cat(rows) @ conv.weight.flatten(1).T + conv.bias
        expected = conv(x) if x.ndim == conv.weight.ndim else conv(x)[None]
        torch.testing.assert_close(y, expected.flatten(2).mT.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_many_patches_are_unfolded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = nn.Conv1d(2, 3, 3), torch.randn(5, 2, 6)
    (whole,) = observed(conv, lambda: conv(x)).values()
    monkeypatch.setattr(patches, "NUMBERS_AT_ONCE", 1)
    (parts,) = observed(conv, lambda: conv(x)).values()
    assert (len(whole), len(parts)) == (1, 5) and torch.equal(torch.cat(whole), torch.cat(parts))


# weights whose rows are inputs, and vectors


def test_inputs_of_a_layer_as_in_gpt_2_are_those_of_the_equal_linear_layer() -> None:
    torch.manual_seed(0)
    turned, linear, x_23I = Conv1D(4, 5), nn.Linear(5, 4), torch.randn(2, 3, 5)
    with torch.no_grad():
        linear.weight.copy_(turned.weight.T)
    found = []
    for net in (turned, linear):
        weights = {"weight": net.weight.detach()}
        squares, grams = Squares(weights, weights), Grams(weights, weights)
        for stats in (squares, grams):
            with torch.no_grad(), observing(net, weights, stats):
                net(x_23I)
        ((rows, gram_II),) = grams.bands("weight")
        found.append((rows, gram_II, squares.matrix("weight", squares.scaled("weight"))))
    assert found[0][0] == found[1][0] == slice(0, 4)
    torch.testing.assert_close(found[0][1:], found[1][1:])
    expected_I = x_23I.reshape(-1, 5).norm(dim=0)
    torch.testing.assert_close(found[0][2], linear.weight.detach().abs() * expected_I)


def test_a_weight_that_multiplies_a_vector_is_observed() -> None:
    net, x_3, x_32 = nn.Linear(3, 2, bias=False), torch.tensor([1.0, 2.0, 3.0]), torch.randn(3, 2)
    for run, rows in (
        (lambda: net.weight @ x_3, [[1.0, 2.0, 3.0]]),
        (lambda: torch.mv(net.weight, x_3), [[1.0, 2.0, 3.0]]),
        (lambda: torch.mm(net.weight, x_32), x_32.T.tolist()),
    ):
        assert as_lists(observed(net, run)) == {("weight", "0:2, 0:3"): [rows]}


def test_a_weight_with_inputs_on_both_sides_is_refused() -> None:
    net, x_23, x_22 = nn.Linear(3, 2, bias=False), torch.randn(2, 3), torch.randn(2, 2)
    weights = {"weight": net.weight.detach()}
    squares = Squares(weights, weights)
    with torch.no_grad(), observing(net, weights, squares):
        net(x_23), x_22 @ net.weight
    with pytest.raises(SparsityError, match="'weight' multiplies inputs by its rows and by its columns"):
        squares.scaled("weight")


# recurrent layers


class Unrolled:
    """A recurrent layer computed by its cell, one sentence and one step after the other."""

    def __init__(self, net: nn.RNNBase) -> None:
        self.net = net
        self.inputs: dict[str, list[Tensor]] = {}

    def read(self, words_LI: Tensor, hx: Any) -> Tensor:
        """One sentence; `hx` are its first states, [layers x directions, H] each."""
        ends = ["", "_reverse"] if self.net.bidirectional else [""]
        for layer in range(self.net.num_layers):
            read = []
            for at, end in enumerate(ends):
                place = layer * len(ends) + at
                first = tuple(h[place] for h in hx) if isinstance(hx, tuple) else hx[place]
                words = words_LI.flip(0) if end else words_LI
                states = torch.stack(list(self._steps(words, first, f"l{layer}{end}")))
                read.append(states.flip(0) if end else states)
            words_LI = torch.cat(read, -1)
        return words_LI

    def _steps(self, words: Tensor, state: Any, name: str) -> Any:
        net = self.net
        ih, hh, bi, bh = (
            getattr(net, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for word in words:
            hidden = state[0] if isinstance(state, tuple) else state
            self.inputs.setdefault(f"weight_ih_{name}", []).append(word)
            self.inputs.setdefault(f"weight_hh_{name}", []).append(hidden)
            match net.mode:
                case "LSTM":
                    state = torch.lstm_cell(word[None], tuple(h[None] for h in state), ih, hh, bi, bh)
                    state = tuple(h[0] for h in state)
                case "GRU":
                    state = torch.gru_cell(word[None], state[None], ih, hh, bi, bh)[0]
                case "RNN_TANH":
                    state = torch.rnn_tanh_cell(word[None], state[None], ih, hh, bi, bh)[0]
            yield state[0] if isinstance(state, tuple) else state


def sorted_rows(rows_NI: Tensor) -> Tensor:
    """Rows in a fixed order, so that sets of rows can be compared."""
    for column in reversed(range(rows_NI.shape[1])):
        rows_NI = rows_NI[rows_NI[:, column].argsort(stable=True)]
    return rows_NI


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("form", ["padded", "batch first", "packed", "alone"])
@pytest.mark.parametrize("begins", ["at 0", "with states"])
def test_inputs_of_a_recurrent_layer_are_those_of_its_cell_step_by_step(
    kind: type[nn.RNNBase], ways: int, form: str, begins: str
) -> None:
    torch.manual_seed(0)
    layers = 3 if form == "packed" else 2
    net = kind(3, 4, layers, bidirectional=ways == 2, batch_first=form != "padded")
    lengths = {"packed": [2, 5, 3], "alone": [4]}.get(form, [4, 4])
    words_NLI = torch.randn(len(lengths), max(lengths), 3)
    shape = (layers * ways, len(lengths), 4)
    states = [torch.randn(shape) if begins == "with states" else torch.zeros(shape) for _ in range(2)]
    hx = tuple(states) if kind is nn.LSTM else states[0]
    reader = Unrolled(net)
    with torch.no_grad():
        outputs = [
            reader.read(
                words[:length], tuple(h[:, n] for h in states) if kind is nn.LSTM else states[0][:, n]
            )
            for n, (words, length) in enumerate(zip(words_NLI, lengths, strict=True))
        ]
    given: Any = words_NLI
    match form:
        case "padded":
            given = words_NLI.transpose(0, 1)
        case "alone":
            given, hx = words_NLI[0], tuple(h[:, 0] for h in hx) if kind is nn.LSTM else hx[:, 0]
        case "packed":
            given = pack_padded_sequence(
                words_NLI, torch.tensor(lengths), batch_first=True, enforce_sorted=False
            )
    found = observed(net, lambda: net(given, *((hx,) if begins == "with states" else ())))
    rows = joined(found)
    assert rows.keys() == reader.inputs.keys()
    for name, steps in reader.inputs.items():
        expected_NI = sorted_rows(torch.stack(steps))
        torch.testing.assert_close(sorted_rows(rows[name]), expected_NI, atol=1e-5, rtol=1e-4)
    if form == "packed":
        read = pad_packed_sequence(net(given, hx)[0], batch_first=True)[0]
        torch.testing.assert_close(read[0, :2], outputs[0], atol=1e-5, rtol=1e-4)


def test_the_tasks_own_lstm_has_the_inputs_of_torchs_and_none_twice() -> None:
    torch.manual_seed(0)
    ours, theirs = BiLSTM(3, 4, 2, 0.5), nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())
    packed = pack(torch.randn(3, 5, 3), torch.tensor([2, 5, 4]))
    first, second = (
        joined(observed(ours, lambda: ours(packed))),
        joined(observed(theirs, lambda: theirs(packed))),
    )
    assert first.keys() == {name for name, weight in ours.named_parameters() if weight.ndim == 2}
    assert {len(rows) for rows in first.values()} == {11}
    for name, rows in second.items():
        torch.testing.assert_close(first[name], rows, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_recurrent_cell_has_its_input_and_its_state(kind: type[nn.Module]) -> None:
    net, x_23, h_24 = kind(3, 4), torch.randn(2, 3), torch.randn(2, 4)
    found = joined(observed(net, lambda: net(x_23, (h_24, h_24) if kind is nn.LSTMCell else h_24)))
    assert torch.equal(found["weight_ih"], x_23) and torch.equal(found["weight_hh"], h_24)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # a warning of torch about its speed
def test_projections_of_an_lstm_are_not_observed_but_their_outputs_are() -> None:
    net = nn.LSTM(3, 6, 2, proj_size=2)
    found = joined(observed(net, lambda: net(torch.randn(4, 5, 3))))
    assert {name: tuple(rows.shape) for name, rows in found.items()} == {
        "weight_ih_l0": (20, 3),
        "weight_hh_l0": (20, 2),
        "weight_ih_l1": (20, 2),
        "weight_hh_l1": (20, 2),
    }


def test_inputs_in_half_precision_are_observed() -> None:
    net, packed = BiLSTM(3, 4, 2, 0.0), pack(torch.randn(3, 5, 3), torch.tensor([2, 5, 4]))
    exact = joined(observed(net, lambda: net(packed)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = joined(observed(net, lambda: net(packed)))
    for name, rows in exact.items():
        torch.testing.assert_close(found[name].float(), rows, atol=0.05, rtol=0.05)


# attention


def test_packed_projections_of_attention_have_separate_inputs_for_queries_and_keys() -> None:
    net = nn.MultiheadAttention(4, 2, batch_first=True)
    x, y = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    own = observed(net, lambda: net(x, x, x))
    assert {key for key in own if key[0] == "in_proj_weight"} == {("in_proj_weight", "0:12, 0:4")}
    assert torch.equal(own["in_proj_weight", "0:12, 0:4"][0].sort(0)[0], x.view(6, 4).sort(0)[0])
    cross = observed(net, lambda: net(x, y, y))
    assert {key: sum(map(len, rows)) for key, rows in cross.items()} == {
        ("in_proj_weight", "0:4, 0:4"): 6,
        ("in_proj_weight", "4:12, 0:4"): 10,
        ("out_proj.weight", "0:4, 0:4"): 6,
    }


def test_the_fast_path_of_torchs_encoder_is_observed() -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    found = observed(net, lambda: net(torch.randn(2, 3, 8)))
    assert {name for name, _ in found} == {name for name, w in net.named_parameters() if w.ndim == 2}


def hooked(net: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """The same inputs by hooks on every `nn.Linear`."""
    found: dict[str, list[Tensor]] = {}
    names = {id(weight): name for name, weight in net.named_parameters()}

    def hook(module: nn.Linear, args: tuple[Tensor, ...]) -> None:
        rows = args[0].reshape(-1, args[0].shape[-1])
        found.setdefault(names[id(module.weight)], []).append(rows)

    hooks = [
        module.register_forward_pre_hook(hook) for module in net.modules() if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        run()
    for handle in hooks:
        handle.remove()
    return {name: torch.cat(rows) for name, rows in found.items()}


SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "num_hidden_layers": 2}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inputs_of_an_encoder_equal_those_of_hooks(attention: str) -> None:
    config = RobertaConfig(vocab_size=30, max_position_embeddings=20, attn_implementation=attention, **SMALL)
    net = AutoModel.from_config(config, add_pooling_layer=False).eval()
    tokens, real = torch.randint(3, 30, (2, 7)), torch.ones(2, 7).long()
    real[1, 4:] = 0
    found = joined(observed(net, lambda: net(tokens, attention_mask=real)))
    padded = hooked(net, lambda: net(tokens, attention_mask=real))
    assert found.keys() == padded.keys() == set(in_scope(net, "body"))
    for name, rows in padded.items():
        expected = rows.view(2, 7, -1)[real.bool()]
        torch.testing.assert_close(sorted_rows(found[name]), sorted_rows(expected), atol=1e-5, rtol=1e-4)


def test_inputs_of_an_encoder_decoder_equal_those_of_hooks() -> None:
    config = BartConfig(
        vocab_size=30,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=20,
    )
    net = AutoModel.from_config(config).eval()
    source, target = torch.randint(3, 30, (2, 7)), torch.randint(3, 30, (2, 5))
    found = joined(observed(net, lambda: net(input_ids=source, decoder_input_ids=target)))
    expected = hooked(net, lambda: net(input_ids=source, decoder_input_ids=target))
    assert found.keys() == expected.keys() == set(in_scope(net, "body"))
    assert all(torch.equal(found[name], rows) for name, rows in expected.items())


# through the probe


def probe(task: Any, batch_size: int = 8, precision: str = "fp32") -> NetProbe:
    device = Device("cpu", threads=1)
    device.seed("net")
    model = task.model()
    recipe = task.recipe.model_copy(update={"batch_size": batch_size, "precision": precision})
    net = Net(model, in_scope(model, "body", excluded(task, model)))
    return NetProbe(net, Batches(task, recipe, "start", device), "stage", Usage(), device)


@pytest.mark.parametrize("task", [MawpsGts, MawpsGraph2Tree])
def test_every_weight_in_scope_of_a_solver_has_inputs_for_all_columns(task: Any) -> None:
    net_probe = probe(task(backbone="tiny", fold=0))
    covered = {
        name: torch.zeros(weight.flatten(1).shape).bool() for name, weight in net_probe.weights.items()
    }

    def observer(name: str, region: tuple[slice, slice], x_NI: Tensor) -> None:
        covered[name][region] = True

    net_probe.inputs(3, observer)
    assert all(bool(mask.all()) for mask in covered.values())
    assert net_probe._usage.scoring_passes == 3


def test_observing_is_without_dropout_and_keeps_mode_and_gradients() -> None:
    net_probe, means = probe(Toy()), []
    net_probe.net.model.train()
    for _ in range(2):
        squares = Squares(net_probe.weights, ["down.weight"])
        net_probe.inputs(2, squares)
        means.append(squares.scaled("down.weight"))
    assert torch.equal(means[0], means[1])
    assert net_probe.net.model.training
    assert all(weight.grad is None for weight in net_probe.net.model.parameters())


def test_sums_of_inputs_do_not_depend_on_the_batch_size() -> None:
    # 52 examples: one batch of all, or 13 of 4, in another order
    statistics = []
    for batch, batches in ((52, 1), (4, 13)):
        net_probe = probe(Toy(), batch)
        squares, grams = (
            Squares(net_probe.weights, net_probe.weights),
            Grams(net_probe.weights, net_probe.weights),
        )
        net_probe.inputs(batches, squares)
        net_probe.inputs(batches, grams)
        statistics.append({name: [gram for _, gram in grams.bands(name)] for name in net_probe.weights})
        for name in net_probe.weights:
            (_, squares_I), (_, gram_II) = *squares.bands(name), *grams.bands(name)
            assert squares_I is not None and gram_II is not None
            torch.testing.assert_close(squares_I.float(), gram_II.diagonal(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(statistics[0], statistics[1], atol=1e-3, rtol=1e-3)


# input statistics


def test_input_statistics_by_hand() -> None:
    weights = {"a": torch.tensor([[1.0, -2.0], [3.0, 0.5]]), "idle": torch.tensor([[-1.0, 2.0]])}
    squares, grams = Squares(weights, weights), Grams(weights, weights)
    for stats in (squares, grams):
        stats("a", (slice(0, 2), slice(0, 2)), torch.tensor([[3.0, 1.0]]))
        stats("a", (slice(0, 2), slice(0, 2)), torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 2.0]]))
    assert squares.scaled("a").tolist() == [[5.0, -2.0 * -3.0], [15.0, 1.5]]  # norms 5 and 3
    assert squares.scaled("idle").tolist() == [[1.0, 2.0]]  # norm 1
    ((rows, gram_II),) = grams.bands("a")
    assert gram_II is not None and gram_II.tolist() == [[25.0, 3.0], [3.0, 9.0]] and rows == slice(0, 2)


def test_columns_observed_apart_share_a_gram_without_products_between_them() -> None:
    weights = {"a": torch.ones(2, 3)}
    grams = Grams(weights, weights)
    grams("a", (slice(0, 2), slice(0, 2)), torch.tensor([[1.0, 2.0]]))
    grams("a", (slice(0, 2), slice(2, 3)), torch.tensor([[5.0], [1.0]]))
    ((_, gram_II),) = grams.bands("a")
    assert gram_II is not None and gram_II.tolist() == [[1, 2, 0], [2, 4, 0], [0, 0, 26]]


def test_rows_with_other_inputs_are_separate_bands() -> None:
    # queries [0:2] had 3, keys and values [2:6] had 4; later all of them had 1
    weights = {"a": torch.ones(7, 1)}
    squares = Squares(weights, weights)
    squares("a", (slice(0, 2), slice(0, 1)), torch.tensor([[3.0]]))
    squares("a", (slice(2, 6), slice(0, 1)), torch.tensor([[4.0]]))
    squares("a", (slice(0, 6), slice(0, 1)), torch.tensor([[1.0]]))
    assert [(rows, None if s is None else s.tolist()) for rows, s in squares.bands("a")] == [
        (slice(0, 2), [10]),
        (slice(2, 6), [17]),
        (slice(6, 7), None),
    ]
    expected = torch.tensor([10.0, 10, 17, 17, 17, 17, 1]).sqrt()
    torch.testing.assert_close(squares.scaled("a")[:, 0], expected)
