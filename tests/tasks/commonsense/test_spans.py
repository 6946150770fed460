"""Span scoring: the masked tokens of a candidate, its score, and the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.errors import DataError, ModelError
from smc_eval.sparse.scope import in_scope
from smc_eval.tasks import tiny
from smc_eval.tasks.commonsense.question import Blank
from smc_eval.tasks.commonsense.spans import SpanReader, Spans, SpanScorer, margin_loss, mean_scores
from smc_eval.tasks.commonsense.text_nets import TextNet

SENTENCES = ["the cup fell on Anna because it was Anna's cup", "Ben met Clara-Ann, and (she) laughed"] * 3
BYTES = tiny.tiny_tokenizer(SENTENCES, 300, mask=True)


def net(tokenizer: Any, longest: int = 512) -> TextNet:
    return TextNet("hand", tokenizer, longest, nn.Identity)


def blank(before: str, after: str, *candidates: str, answer: int = 0) -> Blank:
    return Blank(before, after, (candidates[0], candidates[1]), answer)


def wordpieces() -> Any:
    """Like BERT's: lower case, accents dropped, pieces after `##`."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(SENTENCES, 80, show_progress=False)
    names = {
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names)


def pieces() -> Any:
    """Like SentencePiece: a blank becomes part of the word after it."""
    from tokenizers import SentencePieceUnigramTokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = SentencePieceUnigramTokenizer()
    special = ["<unk>", "<pad>", "<mask>"]
    tokenizer.train_from_iterator(
        SENTENCES, vocab_size=60, show_progress=False, special_tokens=special, unk_token="<unk>"
    )
    names = {"pad_token": "<pad>", "mask_token": "<mask>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names)


def masked(tokenizer: Any, one: Blank) -> list[str]:
    """Both inputs as text."""
    ids = SpanReader(net(tokenizer)).batch([one]).ids_N2L[0]
    return [tokenizer.decode(row[row != tokenizer.pad_token_id]) for row in ids]


def test_every_token_of_a_candidate_is_masked_and_no_other() -> None:
    tokens = BYTES.convert_ids_to_tokens(BYTES(" Anna", add_special_tokens=False)["input_ids"])
    one = blank("the cup fell on ", " because", "Anna", "it")
    batch = SpanReader(net(BYTES)).batch([one])
    assert batch.masked_N2L.sum(-1).tolist() == [[len(tokens), 1]]
    assert BYTES.decode(batch.own_K) == " Anna it"  # the blank before a word is part of its first token
    unmasked = batch.ids_N2L[0, 0][~batch.masked_N2L[0, 0]]
    assert BYTES.decode(unmasked[unmasked != BYTES.pad_token_id]) == "<s>the cup fell on because</s>"


def test_a_mask_replaces_each_token_of_a_candidate(roberta: Any) -> None:
    roberta.add_special_tokens({"mask_token": "<mask>"})
    one = blank("where is ", " now", "the cup", "x")
    assert masked(roberta, one) == [
        "<s> where is <mask> <mask> now </s>",
        "<s> where is <mask> now </s>",
    ]


@pytest.mark.parametrize("tokenizer", [wordpieces(), pieces(), BYTES], ids=["wordpiece", "unigram", "bytes"])
@pytest.mark.parametrize(
    ("before", "after"),
    [("", " fell on it"), ("it was ", "'s cup"), ("met (", "), and laughed"), ("the cup of ", "")],
)
@pytest.mark.parametrize("name", ["Anna", "Clara-Ann", "Zoë"])
def test_spans_are_right_for_all_kinds_of_fast_tokenizers(
    tokenizer: Any, before: str, after: str, name: str
) -> None:
    filled = SpanReader(net(tokenizer)).fill(before, name, after)
    offsets = tokenizer(before + name + after, return_offsets_mapping=True)["offset_mapping"]
    inside = [offsets[at] for at in filled.places]
    text = before + name + after
    start, stop = inside[0][0], inside[-1][1]
    assert text[start:stop].strip() == name


@given(
    before=st.text(st.sampled_from("ab (é漢🙂"), max_size=8),
    name=st.text(st.sampled_from("abé漢🙂'"), min_size=1, max_size=6),
    after=st.text(st.sampled_from("ab )'é漢🙂"), max_size=8),
)
def test_the_masked_tokens_hold_the_whole_candidate(before: str, name: str, after: str) -> None:
    filled = SpanReader(net(BYTES)).fill(before, name, after)
    decoded = BYTES.decode([filled.ids[at] for at in filled.places])
    assert name in decoded
    assert decoded.strip() in before + name + after


def test_the_count_of_the_official_code_gives_the_same_span() -> None:
    """It counts the tokens before the candidate, and those of the candidate with its blank."""

    def count(text: str) -> int:
        return len(BYTES(text, add_special_tokens=False)["input_ids"])

    for before, name, after in [("the cup fell on ", "Anna", " now"), ("Ben met ", "Clara-Ann", ", and")]:
        filled = SpanReader(net(BYTES)).fill(before, name, after)
        start = 1 + count(before.rstrip())
        assert filled.places == range(start, start + count(f" {name}"))


def test_a_sentence_that_is_too_long_for_the_net_is_refused() -> None:
    with pytest.raises(DataError, match=r"is \d+ tokens long; the model 'hand' reads 9"):
        SpanReader(net(BYTES, 9)).fill("the cup fell on Anna because it was ", "Ben", "")


def test_a_candidate_without_any_token_is_refused() -> None:
    from tokenizers import normalizers

    tokenizer = wordpieces()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("Ben", "")
    with pytest.raises(DataError, match="the tokenizer of 'hand' gives no token for the option 'Ben'"):
        SpanReader(net(tokenizer)).fill("it was ", "Ben", " there")


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(
        ModelError, match="tokenizer of 'hand' has no mask token, which replaces the tokens to be predicted"
    ):
        SpanReader(net(tiny.tiny_tokenizer(SENTENCES, 300)))


def test_a_mask_that_is_not_in_the_vocabulary_is_refused(roberta: Any) -> None:
    roberta.mask_token = "<mask>"
    with pytest.raises(ModelError, match="has no mask token"):
        SpanReader(net(roberta))


def by_hand(log_probs: list[float]) -> tuple[Tensor, Spans]:
    """A batch with given log-probabilities: two tokens of the first candidate, one of the second."""
    logp_KV = torch.full((3, 4), -9.0)
    own_K = torch.tensor([2, 0, 3])
    logp_KV[range(3), own_K] = torch.tensor(log_probs)
    masked_N2L = torch.tensor([[[False, True, True, False], [False, True, False, False]]])
    blank_N2L = torch.zeros(1, 2, 4, dtype=torch.long)
    return logp_KV, Spans(blank_N2L, blank_N2L.bool(), masked_N2L, own_K, torch.tensor([0]))


def test_a_score_is_the_mean_over_the_tokens_of_the_candidate() -> None:
    assert mean_scores(*by_hand([-1.0, -3.0, -0.5])).tolist() == [[-2.0, -0.5]]


@pytest.mark.parametrize(
    ("right", "wrong", "loss"),
    [
        (-2.0, -0.5, 2.0 + 5 * (1.5 + 0.4)),  # the wrong one scores higher
        (-1.0, -1.2, 1.0 + 5 * 0.2),  # right, but not by the margin
        (-1.0, -1.5, 1.0),  # right by more than the margin
    ],
)
def test_the_margin_loss_has_the_published_values(right: float, wrong: float, loss: float) -> None:
    scores = torch.tensor([[right, wrong]])
    assert margin_loss(scores, torch.tensor([0])).item() == pytest.approx(loss)
    assert margin_loss(scores.flip(1), torch.tensor([1])).item() == pytest.approx(loss)


def test_the_loss_of_a_batch_is_the_mean_of_its_sentences() -> None:
    scores = torch.tensor([[-2.0, -0.5], [-1.0, -1.5]])
    assert margin_loss(scores, torch.tensor([0, 0])).item() == pytest.approx((11.5 + 1.0) / 2)


KINDS = ["roberta", "bert", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "modernbert"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # DeBERTa, before transformers 5.23
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_gives_the_same_at_masked_positions_alone_as_at_all_positions(
    kind: str, small: dict[str, int]
) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=len(BYTES), pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, embedding_size=8, **small,
    )  # fmt: skip
    model = AutoModelForMaskedLM.from_config(config).eval()
    batch = SpanReader(net(BYTES)).batch(
        [blank("the cup fell on ", " because", "Anna", "it"), blank("", " laughed", "Clara-Ann", "Ben")]
    )
    log_probabilities = SpanScorer(model)(batch)
    logits = model(
        input_ids=batch.ids_N2L.flatten(0, 1), attention_mask=batch.real_N2L.flatten(0, 1).long()
    ).logits
    expected = logits.log_softmax(-1)[batch.masked_N2L.flatten(0, 1)]
    assert log_probabilities.shape == (len(batch.own_K), len(BYTES))
    assert torch.allclose(log_probabilities, expected, atol=1e-5)
    log_probabilities.sum().backward()
    assert not model.base_model._forward_hooks


def test_padding_changes_no_score(small: dict[str, int]) -> None:
    from transformers import RobertaForMaskedLM

    torch.manual_seed(0)
    scorer = SpanScorer(RobertaForMaskedLM(tiny.tiny_config(len(BYTES)))).eval()
    reader = SpanReader(net(BYTES))
    long, short = (
        blank("the cup fell on Anna because ", " was it", "Clara-Ann", "Ben"),
        blank("", ".", "it", "x"),
    )
    together = reader.batch([long, short])
    alone = reader.batch([short])
    assert torch.allclose(
        mean_scores(scorer(together), together)[1], mean_scores(scorer(alone), alone)[0], atol=1e-5
    )


def test_a_pretrained_model_is_loaded_with_its_head(checkpoint: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    from smc_eval.tasks.commonsense.winogrande import WinoGrande

    folder = checkpoint()
    task = WinoGrande(backbone=str(folder))
    model = task.model()
    stored = load_file(folder / "model.safetensors")
    own = dict(model.named_parameters())
    assert torch.equal(own["net.lm_head.dense.weight"], stored["lm_head.dense.weight"])
    assert set(task.backbone_weights(model)) == set(own)
    assert task.exclude(model) == ()
    out = set(in_scope(model, "all-2d")) - set(in_scope(model, "all-2d", task.exclude_in_paper(model)))
    assert out == {"net.lm_head.dense.weight"}  # the output matrix is tied to the embeddings, and stays
    batch = task.collate(task.data("train")[:4])
    loss, logp_KV = task.loss_and_outputs(model, batch)
    assert loss.isfinite() and logp_KV.shape[0] == len(batch.own_K)
    assert torch.allclose(logp_KV.exp().sum(-1), torch.ones(len(batch.own_K)), atol=1e-5)
    assert task.loss(model.eval(), batch) == task.loss_and_outputs(model, batch)[0]
