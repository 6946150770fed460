"""The encoder: invariant states, equivariant vectors, the right neighbours, and nothing of padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smc_eval_structures import geometry
from smc_eval_structures.backbone_file import Backbone
from smc_eval_structures.batch import StructureBatch, batch_of
from smc_eval_structures.config import TINY, EncoderConfig
from smc_eval_structures.encoder import SpreadNorm, StructureEncoder, sinusoids
from smc_eval_structures.folded import FoldedProtein
from smc_eval_structures.graph import edge_features, nearest, place_features
from smc_eval_structures.perceptron import ChannelNorm, Channels, MessageLayer, Perceptron, Width, mean_at
from smc_eval_structures.synthetic import HELIX, STRAND, backbone
from torch import Tensor

rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 0.1)


def rotation(quaternion: tuple[float, ...]) -> Tensor:
    """The rotation matrix of a quaternion."""
    w, x, y, z = torch.tensor(quaternion, dtype=torch.float64) / math.sqrt(sum(q * q for q in quaternion))
    return torch.stack([
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]),
    ]).float()  # fmt: skip


def atoms(helix: int, strand: int, missing: tuple[int, ...] = ()) -> np.ndarray:
    """A helix, then a strand; not quite ideal, so that no two residues are equally near to a third."""
    places = np.array(backbone([HELIX] * helix + [STRAND] * strand), dtype=np.float32).reshape(-1, 3, 3)
    places += np.random.default_rng(helix).normal(0, 0.2, places.shape).astype(np.float32)
    places[list(missing)] = np.nan
    return places


def batch(*chains: np.ndarray) -> StructureBatch:
    return batch_of(
        [FoldedProtein("x", "A" * len(c), 0.0, Backbone("A", "A" * len(c), c)) for c in chains], None
    )


@pytest.fixture(scope="module")
def encoder() -> StructureEncoder:
    torch.manual_seed(3)
    return StructureEncoder(TINY).eval()


def states(encoder: StructureEncoder, structures: StructureBatch) -> Tensor:
    with torch.no_grad():
        return encoder(structures.atoms_NL33, structures.present_NL, structures.real_NL)


@given(rotations, st.tuples(*[st.floats(-80, 80)] * 3))
@settings(max_examples=15)
def test_states_do_not_change_when_the_protein_is_turned_and_moved(encoder, quaternion, shift) -> None:
    chain = atoms(8, 7, missing=(5,))
    turned = (torch.from_numpy(chain) @ rotation(quaternion).mT + torch.tensor(shift)).numpy()
    first, second = states(encoder, batch(chain)), states(encoder, batch(turned))
    assert (first - second).abs().max() < 2e-3 * first.abs().max()  # coordinates of 80 Å in fp32


def test_a_mirror_image_has_other_states(encoder) -> None:
    chain = atoms(8, 7)
    first, second = states(encoder, batch(chain)), states(encoder, batch(chain * np.float32([1, 1, -1])))
    assert (first - second).abs().max() > 0.05


@given(rotations, st.integers(0, 99))
@settings(max_examples=15)
def test_scalars_of_a_layer_are_invariant_and_its_vectors_turn_with_its_inputs(quaternion, seed) -> None:
    torch.manual_seed(seed)
    nodes, edges, turn = Width(6, 4), Width(3, 2), rotation(quaternion)
    layer = MessageLayer(nodes, edges, dropout=0.0)
    ends_2E = torch.randint(0, 5, (2, 12))
    x, e = (
        Channels(torch.randn(n, w.scalars), torch.randn(n, 3, w.vectors))
        for n, w in ((5, nodes), (12, edges))
    )
    plain = layer(x, e, ends_2E)
    turned = layer(*(Channels(c.scalars, turn @ c.vectors) for c in (x, e)), ends_2E)
    torch.testing.assert_close(turned.scalars, plain.scalars, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned.vectors, turn @ plain.vectors, atol=1e-4, rtol=1e-4)


def test_a_perceptron_is_the_published_formula() -> None:
    torch.manual_seed(1)
    layer = Perceptron(Width(2, 3), Width(4, 2), gated=True)
    s, v = torch.randn(1, 2), torch.randn(1, 3, 3)
    h = np.einsum("hv,xv->xh", layer.hidden.weight.detach().numpy(), v[0].numpy())
    n = np.sqrt((h**2).sum(0) + 1e-8)
    mixed = layer.scalars.weight.detach().numpy() @ np.concatenate([s[0].numpy(), n])
    scalars = np.maximum(mixed + layer.scalars.bias.detach().numpy(), 0)
    gate = 1 / (
        1 + np.exp(-(layer.gate.weight.detach().numpy() @ scalars + layer.gate.bias.detach().numpy()))
    )
    vectors = h @ layer.vectors.weight.detach().numpy().T * gate
    out = layer(Channels(s, v))
    np.testing.assert_allclose(out.scalars[0].detach().numpy(), scalars, atol=1e-6)
    np.testing.assert_allclose(out.vectors[0].detach().numpy(), vectors, atol=1e-6)


def test_the_norm_divides_vectors_by_the_root_of_their_mean_square_length() -> None:
    vectors_M3V = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]])  # lengths 3, 4 and 0
    out = ChannelNorm(Width(2, 3))(Channels(torch.tensor([[1.0, -1.0]]), vectors_M3V))
    root = math.sqrt((9 + 16) / 2)  # the zero vector does not count
    torch.testing.assert_close(out.vectors, vectors_M3V / root, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out.scalars, torch.tensor([[1.0, -1.0]]), atol=1e-4, rtol=1e-4)


def test_each_residue_sends_to_its_nearest_with_coordinates_and_to_itself(encoder) -> None:
    structures = batch(atoms(9, 6, missing=(3, 8)), atoms(4, 0))
    edges = nearest(structures.atoms_NL33, structures.present_NL, 5).T.tolist()
    wanted = set()
    for protein in range(2):
        present = structures.present_NL[protein].nonzero()[:, 0].tolist()
        ca = structures.atoms_NL33[protein, :, 1].double().numpy()
        for sender in present:
            by_distance = sorted(present, key=lambda other: np.linalg.norm(ca[sender] - ca[other]))
            wanted |= {(protein, sender, receiver) for receiver in by_distance[:5]}
    assert len(edges) == len(wanted) == 13 * 5 + 4 * 4
    assert set(map(tuple, edges)) == wanted


def test_an_edge_points_from_receiver_to_sender_and_knows_distance_and_places() -> None:
    atoms_NL33 = torch.zeros(1, 4, 3, 3)
    atoms_NL33[0, 1, 1], atoms_NL33[0, 2, 1] = torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 5.0, 0])
    edge = edge_features(atoms_NL33, torch.tensor([[0], [2], [1]]))
    torch.testing.assert_close(edge.vectors[0, :, 0], torch.tensor([0.0, 1.0, 0.0]))
    centres = np.linspace(0, 20, 16)
    np.testing.assert_allclose(edge.scalars[0, :16], np.exp(-(((5 - centres) / 1.25) ** 2)), atol=1e-5)
    rates = 10_000 ** (-np.arange(0, 16, 2) / 16)
    np.testing.assert_allclose(edge.scalars[0, 16:32], [*np.cos(rates), *np.sin(rates)], atol=1e-6)
    assert edge.scalars[0, 32:].tolist() == [0.0, 0.0]
    assert place_features(torch.tensor([0]))[0].tolist() == [1.0] * 8 + [0.0] * 8


def test_torsions_are_those_that_the_chain_was_built_with() -> None:
    pairs = [(-60.0, -45.0), (-120.0, 130.0), (-70.0, 150.0), (50.0, 40.0)]
    chain = torch.tensor(backbone(pairs)).view(1, 4, 3, 3)
    cos_sin = geometry.torsions(chain)[0]
    angles = torch.atan2(cos_sin[:, 3:], cos_sin[:, :3]).rad2deg()
    wanted = torch.tensor([[0.0, -45, 180], [-120, 130, 180], [-70, 150, 180], [50, 0, 0]])
    difference = (angles - wanted + 180) % 360 - 180
    assert difference.abs().max() < 0.1  # the arc cosine is rough near 180°


def test_local_frames_are_orthonormal_and_vectors_in_them_do_not_turn() -> None:
    chain, turn = torch.from_numpy(atoms(3, 3))[None], rotation((0.3, 0.5, -0.2, 0.7))
    frames = geometry.local_frames(chain)
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).expand(1, 6, 3, 3), atol=1e-5, rtol=0)
    vectors = geometry.neighbour_directions(chain)
    turned = geometry.in_frames(vectors @ turn.mT, geometry.local_frames(chain @ turn.mT))
    torch.testing.assert_close(turned, geometry.in_frames(vectors, frames), atol=1e-5, rtol=0)


def test_the_side_chain_points_where_cb_is() -> None:
    n, ca, c = (torch.tensor(point) for point in backbone([HELIX])[:3])
    towards = geometry.side_chain_directions(torch.stack([n, ca, c])[None, None])[0, 0]
    for neighbour in (n, c):  # tetrahedral angles, about 109.5°
        cosine = torch.dot(towards, (neighbour - ca) / (neighbour - ca).norm())
        assert -0.45 < float(cosine) < -0.2


def test_of_equally_near_residues_the_first_are_neighbours_whatever_the_padding() -> None:
    strand = np.array(backbone([STRAND] * 9), dtype=np.float32).reshape(-1, 3, 3).round(1)
    alone, padded = batch(strand), batch(strand, atoms(30, 0))
    edges = [nearest(b.atoms_NL33[:1], b.present_NL[:1], 4).T.tolist() for b in (alone, padded)]
    assert edges[0] == edges[1]


def test_messages_are_averaged_at_their_receivers() -> None:
    messages = torch.tensor([[1.0], [2.0], [6.0]])
    assert mean_at(torch.tensor([0, 2, 2]), messages, 3).tolist() == [[1.0], [0.0], [4.0]]


def test_other_proteins_of_a_batch_and_padding_change_nothing(encoder) -> None:
    chains = [atoms(12, 9, missing=(4, 5)), atoms(3, 2), atoms(0, 1), atoms(7, 7)]
    together = states(encoder, batch(*chains))
    for at, chain in enumerate(chains):
        alone = states(encoder, batch(chain))[0]
        assert (together[at, : len(chain) + 2] - alone).abs().max() < 1e-5
    assert batch(*chains).pooled_NL.sum(1).tolist() == [21, 5, 1, 14]


def test_a_protein_of_which_all_residues_that_are_read_are_missing_has_finite_states(encoder) -> None:
    chain = atoms(6, 0, missing=tuple(range(6)))
    assert bool(states(encoder, batch(chain, atoms(4, 0))).isfinite().all())


def test_a_missing_residue_is_masked_and_still_counted(encoder) -> None:
    present, missing = atoms(10, 0), atoms(10, 0, missing=(5,))
    structures = batch(missing)
    assert structures.present_NL[0].tolist() == [False, *[True] * 5, False, *[True] * 4, False]
    assert int(structures.pooled_NL.sum()) == 10
    assert not torch.equal(states(encoder, structures), states(encoder, batch(present)))


def test_the_origin_is_the_mean_of_ca() -> None:
    structures = batch(atoms(6, 4, missing=(2,)) + np.float32(30))
    ca_R3 = structures.atoms_NL33[0, :, 1][structures.present_NL[0]]
    assert ca_R3.mean(0).abs().max() < 1e-5
    assert not structures.atoms_NL33[~structures.present_NL].any()


def test_positions_are_sines_and_cosines_from_two_on() -> None:
    table = sinusoids(3, 4, torch.device("cpu"))
    rates = np.array([1.0, 1e-4])
    wanted = [[*np.sin(p * rates), *np.cos(p * rates)] for p in (2, 3, 4)]
    np.testing.assert_allclose(table, wanted, atol=1e-6)


def test_the_norm_of_torsions_uses_the_deviation_of_a_sample() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])  # deviation 1, where that of the population is 0.816
    torch.testing.assert_close(SpreadNorm(3)(x), torch.tensor([[-1.0, 0.0, 1.0]]), atol=1e-5, rtol=0)


def test_the_published_sizes_have_108_million_parameters() -> None:
    with torch.device("meta"):
        encoder = StructureEncoder(EncoderConfig())
    assert sum(weight.numel() for weight in encoder.parameters()) == 107_975_622


def test_dropout_drops_whole_vectors() -> None:
    torch.manual_seed(0)
    layer = MessageLayer(Width(4, 50), Width(2, 1), dropout=0.5).train()
    vectors = layer.dropout(Channels(torch.ones(20, 4), torch.ones(20, 3, 50))).vectors
    assert set(vectors.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(vectors[:, 0], vectors[:, 1]) and torch.equal(vectors[:, 0], vectors[:, 2])
