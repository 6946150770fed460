"""The encoder equals the original of fair-esm 2.0.0, in outputs and gradients: `tox -e structures`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from smc_eval_structures.backbone_file import read_backbone
from smc_eval_structures.batch import StructureBatch, batch_of
from smc_eval_structures.convert import check_tensors, config_of, our_tensors
from smc_eval_structures.encoder import StructureEncoder
from smc_eval_structures.folded import FoldedProtein
from torch import Tensor

SMALL = {
    "encoder_embed_dim": 48, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_embed_dim": 96,
    "decoder_embed_dim": 48, "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_embed_dim": 96,
    "gvp_num_encoder_layers": 2, "gvp_node_hidden_dim_scalar": 24, "gvp_node_hidden_dim_vector": 8,
    "gvp_edge_hidden_dim_scalar": 12, "gvp_edge_hidden_dim_vector": 1, "gvp_top_k_neighbors": 30,
    "dropout": 0.1, "attention_dropout": 0.1, "gvp_dropout": 0.1,
}  # fmt: skip

PUBLISHED = SMALL | {
    "encoder_embed_dim": 512, "encoder_layers": 8, "encoder_attention_heads": 8,
    "decoder_embed_dim": 512, "decoder_layers": 8, "decoder_attention_heads": 8,
    "encoder_ffn_embed_dim": 2048, "decoder_ffn_embed_dim": 2048,
    "gvp_num_encoder_layers": 4, "gvp_node_hidden_dim_scalar": 1024, "gvp_node_hidden_dim_vector": 256,
    "gvp_edge_hidden_dim_scalar": 32,
}  # fmt: skip

CHAINS = {"D": None, "A": 60, "M": 45}
"""Chains of 2GTL, and how many residues of each are read. Of chain A, the first four have no coordinates."""


@pytest.fixture(scope="module")
def folding() -> Any:
    """The original package, after two shims."""
    pytest.importorskip("torch_geometric", reason="torch_geometric is not installed")
    biotite = pytest.importorskip("biotite.structure", reason="biotite is not installed")
    pytest.importorskip("esm", reason="fair-esm is not installed")
    scatter = ModuleType("torch_scatter")

    def scatter_add(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
        return src.new_zeros(dim_size, *src.shape[1:]).index_add_(0, index, src)

    scatter.scatter_add = scatter.scatter = scatter_add
    sys.modules.setdefault("torch_scatter", scatter)
    if not hasattr(biotite, "filter_backbone"):  # its name until biotite 1.0
        biotite.filter_backbone = biotite.filter_peptide_backbone
    return SimpleNamespace(
        model=importlib.import_module("esm.inverse_folding.gvp_transformer").GVPTransformerModel,
        converter=importlib.import_module("esm.inverse_folding.util").CoordBatchConverter,
        alphabet=importlib.import_module("esm").Alphabet.from_architecture("invariant_gvp"),
    )


def nets(folding: Any, sizes: dict[str, Any]) -> tuple[Any, StructureEncoder]:
    """The original model with random weights, and our encoder with the same."""
    torch.manual_seed(0)
    arguments = argparse.Namespace(**sizes)
    original = folding.model(arguments, folding.alphabet).eval()
    with torch.no_grad():
        for weight in original.parameters():
            if weight.ndim == 1:  # gains are ones and most biases zeros
                weight.add_(0.1 * torch.randn_like(weight))
    config, tensors = config_of(arguments, "it"), our_tensors(original.state_dict(), "it")
    check_tensors(config, tensors, "it")
    ours = StructureEncoder(config).eval()
    ours.load_state_dict(tensors)
    return original, ours


def proteins(shipped: Path) -> list[FoldedProtein]:
    chains = [(read_backbone(shipped / "2gtl.cif", name), most) for name, most in CHAINS.items()]
    return [
        FoldedProtein(
            b.chain, b.sequence[:most], 0.0, type(b)(b.chain, b.sequence[:most], b.atoms_L33[:most])
        )
        for b, most in chains
    ]


def outputs(
    folding: Any, original: Any, ours: StructureEncoder, structures: StructureBatch
) -> tuple[Tensor, Tensor]:
    """The states of both, of the same coordinates, at all places that are not padding."""
    coordinates = []
    for atoms_L33, present_L, pooled_L in zip(
        structures.atoms_NL33, structures.present_NL, structures.pooled_NL, strict=True
    ):
        chain = torch.where(present_L[:, None, None], atoms_L33, torch.inf)[pooled_L]
        coordinates.append((chain.numpy(), None, None))
    placed, confidence, _, _, padding = folding.converter(folding.alphabet)(coordinates)
    assert torch.equal(~padding, structures.real_NL)
    theirs = original.encoder(placed, padding, confidence)["encoder_out"][0].transpose(0, 1)
    mine = ours(structures.atoms_NL33, structures.present_NL, structures.real_NL)
    return theirs[structures.real_NL], mine[structures.real_NL]


def check(folding: Any, shipped: Path, sizes: dict[str, Any]) -> None:
    """Outputs and gradients are equal to 1e-5, alone and padded."""
    original, ours = nets(folding, sizes)
    examples = proteins(shipped)
    assert int(np.isnan(examples[1].backbone.atoms_L33).all((1, 2)).sum()) == 4
    for chosen in ([examples[0]], [examples[1]], examples):
        original.zero_grad()
        ours.zero_grad()
        theirs, mine = outputs(folding, original, ours, batch_of(chosen, None))
        assert (theirs - mine).abs().max() < 1e-5
        weights = torch.randn_like(theirs)
        (theirs * weights).mean().backward()
        (mine * weights).mean().backward()
        given = {name: weight.grad for name, weight in original.named_parameters() if weight.grad is not None}
        slopes = our_tensors(given, "it")
        for name, weight in ours.named_parameters():
            assert weight.grad is not None, name
            scale = max(1.0, float(slopes[name].abs().max()))
            assert (weight.grad - slopes[name]).abs().max() < 1e-5 * scale, name


def test_a_small_encoder_with_random_weights_equals_the_original(folding: Any, shipped: Path) -> None:
    check(folding, shipped, SMALL)


@pytest.mark.slow
def test_an_encoder_of_the_published_size_equals_the_original(folding: Any, shipped: Path) -> None:
    check(folding, shipped, PUBLISHED)


@pytest.mark.slow
def test_the_published_sizes_make_the_published_number_of_parameters(folding: Any) -> None:
    with torch.device("meta"):
        original = folding.model(argparse.Namespace(**PUBLISHED), folding.alphabet)
    assert round(sum(weight.numel() for weight in original.parameters()) / 1e6, 1) == 141.7


def test_our_alphabet_row_is_that_of_the_mask(folding: Any) -> None:
    assert folding.alphabet.get_idx("<mask>") == len(folding.alphabet) - 3


def test_the_original_depends_on_the_origin_of_a_file_and_our_tasks_do_not(
    folding: Any, shipped: Path
) -> None:
    original, ours = nets(folding, SMALL)
    chain = read_backbone(shipped / "2gtl.cif", "D").atoms_L33
    convert = folding.converter(folding.alphabet)
    states = []
    for shift in (0.0, 100.0):
        placed, confidence, _, _, padding = convert([(chain + np.float32(shift), None, None)])
        with torch.no_grad():
            states.append(original.encoder(placed, padding, confidence)["encoder_out"][0][1:-1, 0])
    assert (states[0] - states[1]).abs().max() > 0.1
    example = proteins(shipped)[0]
    moved = FoldedProtein(
        "D", example.sequence, 0.0, type(example.backbone)("D", "", chain + np.float32(100))
    )
    first, second = (outputs(folding, original, ours, batch_of([one], None))[1] for one in (example, moved))
    assert (first - second).abs().max() < 1e-3
