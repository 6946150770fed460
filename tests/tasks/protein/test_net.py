"""The protein net: its inputs, its feature and its predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone, pretrained
from smc_eval.tasks.protein import alphabet
from smc_eval.tasks.protein.alphabet import ESM, esm_alphabet
from smc_eval.tasks.protein.batch import batch_of
from smc_eval.tasks.protein.example import RESIDUES, Protein
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.protein.protein_net import ProteinNet, masked_mean, protein_encoder
from smc_eval.tasks.text_encoder import TextEncoder

PROTEINS = [Protein("a", "MK", 1), Protein("b", "MKVLAX", 0), Protein("c", "W", 1)]


def test_a_sequence_is_between_special_tokens_and_padding_comes_last() -> None:
    batch = batch_of(PROTEINS, esm_alphabet(), None)
    assert batch.ids_NL.tolist() == [
        [0, 20, 15, 2, 1, 1, 1, 1],
        [0, 20, 15, 7, 4, 5, 24, 2],
        [0, 22, 2, 1, 1, 1, 1, 1],
    ]
    assert batch.real_NL.sum(1).tolist() == [4, 8, 3]
    assert batch.answers_N.tolist() == [1, 0, 1]


def test_the_feature_uses_ids_of_2_and_more_as_the_official_code_does() -> None:
    batch = batch_of(PROTEINS, esm_alphabet(), None)
    assert torch.equal(batch.pooled_NL, batch.ids_NL >= 2)


def test_a_long_sequence_is_truncated_and_keeps_its_end_token() -> None:
    assert batch_of(PROTEINS, esm_alphabet(), 3).ids_NL[1].tolist() == [0, 20, 15, 7, 2]


@pytest.mark.parametrize("most", [None, 1, 5, 6, 7, 1022])
@pytest.mark.parametrize("max_residues", [None, 4, 6])
def test_the_length_is_that_of_the_encoded_sequence(most: int | None, max_residues: int | None) -> None:
    letters = replace(esm_alphabet(), max_residues=max_residues)
    for protein in PROTEINS:
        encoded = letters.encode(protein.sequence, most)
        assert letters.length(protein.sequence, most) == len(encoded)


def test_the_mean_covers_the_selected_states_alone() -> None:
    states_NLH = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, 6.0], [float("nan"), 7.0]]])
    read_NL = torch.tensor([[False, True, True, False]])
    assert masked_mean(states_NLH, read_NL).tolist() == [[2.0, 4.0]]


class Echo(nn.Module):
    """An encoder whose states are its ids."""

    class config:  # noqa: N801 - as transformers names it
        hidden_size = 1

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor]:
        return (input_ids[..., None].float(),)


def test_the_head_is_linear_norm_relu_linear_over_the_mean_id() -> None:
    net = ProteinNet(Echo(), 3, centre=50.0, scale=10.0)
    shapes = {name: tuple(weight.shape) for name, weight in net.named_parameters()}
    assert shapes == {
        "head.hidden.weight": (512, 1), "head.hidden.bias": (512,),
        "head.norm.weight": (512,), "head.norm.bias": (512,),
        "head.out.weight": (3, 512), "head.out.bias": (3,),
    }  # fmt: skip
    mean_N1 = torch.tensor([[(20 + 15 + 2) / 3], [(20 + 15 + 7 + 4 + 5 + 24 + 2) / 7], [(22 + 2) / 2]])
    head = net.head
    hidden_NH = nn.functional.layer_norm(head.hidden(mean_N1), (512,))
    wanted_NC = 50 + 10 * (hidden_NH.clamp_min(0) @ head.out.weight.T + head.out.bias)
    assert torch.allclose(net(batch_of(PROTEINS, esm_alphabet(), None)), wanted_NC, atol=1e-4)


def test_centre_and_scale_are_stored_with_the_net() -> None:
    stored = ProteinNet(Echo(), 1, centre=50.0, scale=10.0).state_dict()
    other = ProteinNet(Echo(), 1)
    other.load_state_dict(stored)
    assert (float(other.centre), float(other.scale)) == (50.0, 10.0)


def test_padding_and_other_proteins_change_no_prediction() -> None:
    torch.manual_seed(0)
    net = ProteinNet(ProteinEncoder().build("tiny"), 2).eval()
    together = net(batch_of(PROTEINS, esm_alphabet(), None))
    for row, protein in zip(together, PROTEINS, strict=True):
        assert torch.allclose(row, net(batch_of([protein], esm_alphabet(), None))[0], atol=1e-6)


def test_the_head_runs_in_full_precision_under_autocast() -> None:
    net = ProteinNet(ProteinEncoder().build("tiny"), 2).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert net(batch_of(PROTEINS, esm_alphabet(), None)).dtype == torch.float32


def test_a_tiny_net_has_no_unused_parameters() -> None:
    net = ProteinNet(ProteinEncoder().build("tiny"), 2)
    net(batch_of(PROTEINS, esm_alphabet(), None)).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


def test_only_the_encoder_of_a_checkpoint_is_loaded(esm_folder: Path) -> None:
    from transformers import EsmForSequenceClassification

    net = ProteinNet(protein_encoder(str(esm_folder)), 2)
    whole = EsmForSequenceClassification.from_pretrained(esm_folder).esm.state_dict()
    for name, weight in net.encoder.named_parameters():
        assert torch.equal(weight, whole[name])
    net(batch_of(PROTEINS, esm_alphabet(), None)).sum().backward()
    unread = [name for name, weight in net.named_parameters() if weight.grad is None]
    assert unread == []


def test_the_tokenizer_of_esm_gives_the_built_in_alphabet(esm_folder: Path) -> None:
    loaded = alphabet.alphabet_of(backbone.find_backbone(str(esm_folder), ProteinEncoder()))
    assert loaded == alphabet.Alphabet(
        **{**vars(esm_alphabet()), "max_residues": 8}
    )  # 12 positions, 2 offset, 2 special tokens


def test_no_sequence_is_longer_than_the_positions_of_the_model(esm_folder: Path) -> None:
    checkpoint = backbone.find_backbone(str(esm_folder), ProteinEncoder())
    long = [Protein("long", "MKV" * 20, 0)]
    batch = batch_of(long, alphabet.alphabet_of(checkpoint), 1022)
    assert batch.ids_NL.shape == (1, 10)
    assert ProteinNet(checkpoint.load(), 2)(batch).isfinite().all()  # one token more would have no position


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    """A very small BERT like ProtBert: no U, O, B or Z, and blanks between residues."""
    return bert(tmp_path / "bert", "ACDEFGHIKLMNPQRSTVWYX")


def bert(folder: Path, letters: str, **options: object) -> Path:
    from transformers import BertConfig, BertForMaskedLM

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(special) + len(letters),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join([*special, *letters]) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def test_the_ids_of_another_vocabulary_are_used(bert_folder: Path) -> None:
    checkpoint = backbone.find_backbone(str(bert_folder), ProteinEncoder())
    own = alphabet.alphabet_of(checkpoint)
    batch = batch_of([Protein("a", "ACU", 1)], own, None)
    assert batch.ids_NL.tolist() == [[2, 5, 6, 25, 3]]  # [CLS] A C X [SEP]: U reads as X
    assert batch.pooled_NL.tolist() == [[False, True, True, True, True]]
    assert set(own.ids) == set(RESIDUES) and (own.padding, own.max_residues) == (0, 37)
    net = ProteinNet(checkpoint.load(), 2)
    assert net(batch).shape == (1, 2)


def test_a_text_model_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = bert(tmp_path / "text", "ACDEFGHIKLMNPQRSTVWYX" + "a")
    with pytest.raises(
        ModelError, match="not a protein encoder .its 27 tokens are not the letters of residues"
    ):
        backbone.find_backbone(str(folder), ProteinEncoder())


def test_a_protein_model_is_refused_as_a_text_encoder(esm_folder: Path) -> None:
    with pytest.raises(ModelError, match="a protein encoder .its 33 tokens are the letters of residues"):
        backbone.find_backbone(str(esm_folder), TextEncoder())


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = backbone.find_backbone(
        str(bert(tmp_path / "bert", "ACDEFGHIKLMNPQRSTVWYX")), ProteinEncoder()
    )
    tokenizer = checkpoint.load_tokenizer()
    tokenizer.pad_token = None
    monkeypatch.setattr(pretrained, "load_tokenizer", lambda *_, **__: tokenizer)
    with pytest.raises(ModelError, match="has no padding token"):
        alphabet.alphabet_of(checkpoint)


def test_tape_can_be_read_after_the_conversion_of_the_manual(tmp_path: Path, root: Path) -> None:
    from transformers import BertModel

    whole = bert(tmp_path / "bert", "ABCDEFGHIKLMNOPQRSTUVWXYZ")
    model = BertModel.from_pretrained(whole)
    tape = tmp_path / "tape"
    tape.mkdir()
    named = {f"bert.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({**named, "mlm.decoder.bias": torch.zeros(30)}, tape / "pytorch_model.bin")
    config = json.loads((whole / "config.json").read_text())
    (tape / "config.json").write_text(json.dumps({**config, "model_type": "transformer", "vocab_size": 30}))
    manual = (root / "docs" / "tape.md").read_text(encoding="utf-8")
    code: dict[str, object] = {}
    exec(manual.split("```python\n")[1].split("```")[0], code)
    code["convert"](tape, tmp_path / "converted")  # type: ignore[operator]

    checkpoint = backbone.find_backbone(str(tmp_path / "converted"), ProteinEncoder())
    own = alphabet.alphabet_of(checkpoint)
    assert own.encode("AZ", None) == [2, 5, 29, 3]  # <cls> A Z <sep>, as TAPE numbers them
    assert own.padding == 0
    ids_NL = torch.tensor([own.encode("MKV", None)])
    assert torch.equal(checkpoint.load().eval()(ids_NL)[0], model.eval()(ids_NL)[0])


def test_the_alphabet_of_esm_has_its_33_tokens_in_order() -> None:
    assert len(ESM) == 33
    assert [ESM.index(token) for token in ("<cls>", "<pad>", "<eos>", "<unk>", "L", "O", "<mask>")] == [
        0, 1, 2, 3, 4, 28, 32,
    ]  # fmt: skip
