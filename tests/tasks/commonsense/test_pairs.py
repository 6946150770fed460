"""Two texts as one input, token by token, and the head that scores it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from smc_eval.errors import DataError, ModelError
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.multiple_choice import MultipleChoice
from smc_eval.tasks.commonsense.pairs import Frame, PairReader
from smc_eval.tasks.commonsense.question import PairLayout, Question
from smc_eval.tasks.commonsense.race import Race
from smc_eval.tasks.commonsense.ranker import Ranker
from smc_eval.tasks.commonsense.text_nets import TextNet
from smc_eval.tasks.commonsense.winogrande import WinoGrande


def net(tokenizer: Any, longest: int | None = 512) -> TextNet:
    return TextNet("hand", tokenizer, longest, nn.Identity)


def read(tokenizer: Any, layout: PairLayout, first: str, second: str) -> str:
    ids, types = PairReader(net(tokenizer), layout).pair(first, second)
    assert len(types) == len(ids)
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


def test_csqa_has_one_separator_between_question_and_answer(roberta: Any, bert: Any) -> None:
    tokens = read(roberta, Csqa.layout, "Q: where is it", "A: here")
    assert tokens == "<s> Q: where is it </s> A: here </s>"
    assert read(bert, Csqa.layout, "Q: where is it", "A: here") == "[CLS] Q: where is it [SEP] A: here [SEP]"


def test_race_has_the_pair_format_of_the_tokenizer(roberta: Any, bert: Any) -> None:
    tokens = read(roberta, Race.layout, "where is it here", "the cup fell")
    assert tokens == "<s> where is it here </s> </s> the cup fell </s>"
    assert tokens == roberta.decode(roberta("where is it here", "the cup fell")["input_ids"])
    assert read(bert, Race.layout, "where is it", "the cup") == "[CLS] where is it [SEP] the cup [SEP]"


def test_race_truncates_the_question_to_128_tokens_and_the_input_to_512(roberta: Any) -> None:
    just = read(roberta, Race.layout, "x " * 126, "the cup").split()
    assert just == ["<s>", *["x"] * 126, "</s>", "</s>", "the", "cup", "</s>"]
    over = read(roberta, Race.layout, "x " * 127, "the cup").split()
    assert over == ["<s>", *["x"] * 127, "</s>", "the", "cup", "</s>"]  # one separator is dropped
    assert read(roberta, Race.layout, "x " * 999, "the cup").split() == over
    whole = read(roberta, Race.layout, "it is", "cup " * 999).split()
    assert whole == ["<s>", "it", "is", "</s>", "</s>", *["cup"] * 507]


def test_a_single_separator_is_never_dropped(bert: Any) -> None:
    tokens = read(bert, Race.layout, "x " * 999, "the cup").split()
    assert tokens == ["[CLS]", *["x"] * 127, "[SEP]", "the", "cup", "[SEP]"]


def test_types_mark_the_second_text_if_the_tokenizer_has_types(roberta: Any, bert: Any) -> None:
    for layout in (PairLayout(), PairLayout(single_separator=True)):
        _, types = PairReader(net(bert), layout).pair("where is", "the cup fell")
        assert types == [0, 0, 0, 0, 1, 1, 1, 1]
        assert types == bert("where is", "the cup fell")["token_type_ids"]
        assert not any(PairReader(net(roberta), layout).pair("where is", "the cup fell")[1])


def test_a_net_with_fewer_positions_reads_fewer_tokens(roberta: Any) -> None:
    reader = PairReader(net(roberta, 10), Race.layout)
    assert len(reader.pair("it is", "cup " * 99)[0]) == 10
    with pytest.raises(
        DataError, match=r"'Q: x x x x' with 'A: x x x x' is 13 tokens long; the model 'hand' reads 10"
    ):
        PairReader(net(roberta, 10), Csqa.layout).pair("Q: x x x x", "A: x x x x")


def test_a_tokenizer_without_a_separator_is_refused(roberta: Any) -> None:
    from tokenizers import processors

    roberta.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 2)]
    )
    with pytest.raises(ModelError, match="tokenizer of 'hand' puts no separator between two texts"):
        Frame.of(net(roberta))


def test_a_tokenizer_without_padding_is_refused(roberta: Any) -> None:
    roberta.pad_token = None
    with pytest.raises(ModelError, match="tokenizer of 'hand' has no pad token, which pads batches"):
        PairReader(net(roberta), PairLayout())


def test_a_batch_is_padded_to_the_longest_choice(roberta: Any) -> None:
    both = [
        Question((("Q: it", "A: here"), ("Q: it", "A: now now")), 1),
        Question((("Q: it is", "A: x"), ("Q: it is", "A: x")), 0),
    ]
    batch = PairReader(net(roberta), PairLayout(single_separator=True)).batch(both)
    assert batch.ids_NCL.shape == (2, 2, 8)
    assert batch.real_NCL.sum(-1).tolist() == [[7, 8], [8, 8]]
    assert batch.ids_NCL[0, 0, 7] == roberta.pad_token_id
    assert batch.answers_N.tolist() == [1, 0]
    assert roberta.decode(batch.ids_NCL[0, 1]) == "<s> Q: it </s> A: now now </s>"


@pytest.mark.parametrize("task", [Csqa(), Race(), WinoGrande(), WinoGrande(by="ranking")], ids=str)
def test_the_length_is_the_number_of_tokens_in_a_batch(task: MultipleChoice) -> None:
    for one in task.data("train")[:9]:
        batch = task.collate([one])
        assert task.length(one) == next(iter(vars(batch).values())).numel()


def test_the_length_counts_truncated_inputs(roberta: Any) -> None:
    reader = PairReader(net(roberta), Race.layout)
    for first, second in [("x " * 126, "cup"), ("x " * 127, "cup"), ("x", "cup " * 999), ("x", "cup")]:
        assert reader.length(Question(((first, second),), 0)) == len(reader.pair(first, second)[0])


def test_each_text_is_tokenized_once(roberta: Any) -> None:
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(roberta, name)

        def __call__(self, *texts: str, **options: Any) -> Any:
            calls.append(texts)
            return roberta(*texts, **options)

    reader = PairReader(net(Counting()), PairLayout())
    calls.clear()
    for _ in range(2):
        reader.batch([Question((("the story", "here"), ("the story", "there")), 0)])
    assert calls == [("the story",), ("here",), ("there",)]


def encoder(kind: str, small: dict[str, int]) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=40, **small)).eval()


def test_the_head_is_dense_tanh_and_one_output_on_the_first_token(
    roberta: Any, small: dict[str, int]
) -> None:
    ranker = Ranker(encoder("roberta", small), 0.1).eval()
    batch = PairReader(net(roberta), PairLayout()).batch([Question((("it", "here"), ("it", "now now")), 1)])
    first = ranker.encoder(input_ids=batch.ids_NCL[0, 0, :6][None]).last_hidden_state[0, 0]  # without padding
    by_hand = ranker.out.weight[0] @ torch.tanh(ranker.dense.weight @ first + ranker.dense.bias)
    assert ranker(batch).shape == (1, 2)
    assert ranker(batch)[0, 0].item() == pytest.approx((by_hand + ranker.out.bias[0]).item(), abs=1e-6)


def test_the_head_has_dropout_before_and_after_the_dense_layer(roberta: Any, small: dict[str, int]) -> None:
    ranker = Ranker(encoder("roberta", small), 0.5)
    ranker.drop.train()
    batch = PairReader(net(roberta), PairLayout()).batch([Question((("it", "here"),), 0)])
    seen: list[tuple[int, ...]] = []
    ranker.drop.register_forward_hook(lambda _module, args, _output: seen.append(tuple(args[0].shape)))
    ranker(batch)
    assert seen == [(1, 8), (1, 8)]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # DeBERTa, before transformers 5.23
@pytest.mark.parametrize("kind", ["bert", "electra", "roberta", "distilbert", "mpnet", "deberta-v2"])
def test_any_text_encoder_can_rank_and_gets_types_if_it_takes_them(
    kind: str, bert: Any, small: dict[str, int]
) -> None:
    one = {"type_vocab_size": 1} if kind == "roberta" else {}  # as in all its checkpoints
    ranker = Ranker(encoder(kind, small | one), 0.0)
    assert ranker.typed == (kind in ("bert", "electra"))
    assert ranker(PairReader(net(bert), PairLayout()).batch([Question((("it", "here"),), 0)])).shape == (1, 1)


def test_the_loss_is_cross_entropy_over_choices_and_comes_with_log_probabilities() -> None:
    task = Csqa()
    batch = task.collate(task.data("train")[:2])
    scores = torch.tensor([[1.0, 2, 3, 4, 5], [0, 0, 0, 0, 0]])
    loss, logp = task.loss_and_outputs(lambda _batch: scores, batch)  # type: ignore[arg-type]
    assert torch.allclose(logp.exp().sum(-1), torch.ones(2))
    wanted = torch.nn.functional.cross_entropy(scores, batch.answers_N)
    assert loss.item() == pytest.approx(wanted.item())
    assert task.loss(lambda _batch: scores, batch) == loss  # type: ignore[arg-type]


def test_the_encoder_is_pretrained_and_the_output_layer_is_excluded(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(head=False)
    task = Csqa(backbone=str(folder))
    assert [source.role for source in task.sources()] == ["data", "model"]
    model = task.model()
    pretrained = set(task.backbone_weights(model))
    names = {name for name, _ in model.named_parameters()}
    assert names - pretrained == {"dense.weight", "dense.bias", "out.weight", "out.bias"}
    assert task.exclude(model) == ("out.weight",)
    assert set(task.predict(model.eval(), task.collate(task.data("test")[:3]))) <= set(range(5))


def test_a_checkpoint_reads_as_many_tokens_as_it_has_positions_for(checkpoint: Callable[..., Path]) -> None:
    task = Race(backbone=str(checkpoint(head=False, positions=40)))
    batch = task.collate(task.data("train")[:8])
    assert batch.ids_NCL.shape[-1] == 38
    assert task.loss(task.model(), batch).isfinite()


def test_a_checkpoint_without_a_pad_token_is_refused_before_it_is_loaded(
    checkpoint: Callable[..., Path],
) -> None:
    with pytest.raises(ModelError, match="has no pad token"):
        Csqa(backbone=str(checkpoint(pad=False))).model()
