"""Nets with global attention get it at the tokens that are read; tables of other classes are tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from smc_eval.errors import ModelError
from smc_eval.tasks.commonsense.pairs import PairBatch
from smc_eval.tasks.commonsense.ranker import Ranker
from smc_eval.tasks.commonsense.spans import Spans, SpanScorer
from smc_eval.tasks.protein.protein_net import ProteinNet
from smc_eval.tasks.translation import encoder_decoder

IDS = torch.randint(3, 30, (2, 2, 16), generator=torch.Generator().manual_seed(0))


def longformer(*, masked: bool = False) -> Any:
    from transformers import LongformerConfig, LongformerForMaskedLM, LongformerModel

    torch.manual_seed(0)
    config = LongformerConfig(
        attention_window=4,
        vocab_size=32,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        initializer_range=1.0,
    )
    model: Any = LongformerForMaskedLM(config) if masked else LongformerModel(config, add_pooling_layer=False)
    return model.eval()


def changed_by_the_last_token(scores: Any, batch_of: Any) -> Tensor:
    ids = IDS.clone()
    ids[..., -1] = 31
    return cast("Tensor", (scores(batch_of(IDS)) - scores(batch_of(ids))).abs() > 1e-6)


def test_the_first_token_of_a_longformer_sees_all_others() -> None:
    net = Ranker(longformer(), 0.0).eval()

    def batch(ids: Tensor) -> PairBatch:
        real = torch.ones_like(ids).bool()
        return PairBatch(ids, torch.zeros_like(ids), real, torch.zeros(len(ids)))

    # two layers with a window of 4 carry the last of 16 tokens to the first only by global attention
    assert bool(changed_by_the_last_token(net, batch).all())
    net.attends_globally = False
    assert not changed_by_the_last_token(net, batch).any()
    net.attends_globally = True
    net(batch(IDS)).sum().backward()
    used = [name for name, weight in net.named_parameters() if "_global" in name and weight.grad is not None]
    assert len(used) == 12


def test_the_masked_tokens_of_a_longformer_see_all_others() -> None:
    net = SpanScorer(longformer(masked=True)).eval()
    masked = torch.zeros_like(IDS).bool()
    masked[..., 1] = True

    def batch(ids: Tensor) -> Spans:
        return Spans(ids, torch.ones_like(ids).bool(), masked, ids[masked], torch.zeros(2))

    assert bool(changed_by_the_last_token(net, batch).any(1).all())
    net.attends_globally = False
    assert not changed_by_the_last_token(net, batch).any()


def test_a_task_that_reads_all_tokens_alike_refuses_global_attention(monkeypatch: Any) -> None:
    with pytest.raises(ModelError, match="LongformerModel has global attention .* the mean of all tokens"):
        ProteinNet(longformer(), 1)
    found = SimpleNamespace(load=longformer)
    monkeypatch.setattr(encoder_decoder.backbone, "find_backbone", lambda *_: found)
    with pytest.raises(ModelError, match="'led', LongformerModel, has global attention"):
        encoder_decoder.make_net("led", cast("Any", None), None, None)


def test_the_tables_of_an_ibert_are_found_when_they_are_looked_up() -> None:
    from transformers import IBertConfig, IBertModel

    from smc_eval.engine.net_use import LookUps
    from smc_eval.sparse.scope import embeddings

    config = IBertConfig(
        vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model: Any = IBertModel(config, add_pooling_layer=False)
    words = "embeddings.word_embeddings.weight"
    assert embeddings(model) == {words}
    looked_up = LookUps({id(weight): name for name, weight in model.named_parameters()})
    with looked_up:
        model(input_ids=IDS[0])
    others = ("embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight")
    assert looked_up.seen_tables == {words, *others}
