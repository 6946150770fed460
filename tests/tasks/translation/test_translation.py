"""Translation: batches, search and scores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import DynamicCache

from smc_eval.errors import ModelError
from smc_eval.recipe import Recipe
from smc_eval.tasks.translation import beam_search
from smc_eval.tasks.translation.beam_search import translate
from smc_eval.tasks.translation.codec import IGNORED, Codec, LanguageSide
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import Direction
from smc_eval.tasks.translation.scoring import score_directions
from smc_eval.tasks.translation.translation import TwoToTwo

VOCABULARY = {"<s>": 0, "<pad>": 1, "</s>": 2, "en_XX": 3, "fr_XX": 4, "a": 5, "b": 6, "c": 7}


class Letters:
    """A tokenizer of letters."""

    pad_token_id, eos_token_id = 1, 2

    def get_vocab(self) -> dict[str, int]:
        return VOCABULARY

    def __call__(self, text: str, **settings: Any) -> Any:
        return SimpleNamespace(input_ids=[VOCABULARY[letter] for letter in text])


SENTENCES = [
    Sentence(Direction("en", "fr"), "ab", "c"),
    Sentence(Direction("fr", "en"), "a", "bc"),
]


def codec(side: LanguageSide, tokenizer: Any = None) -> Codec:
    return Codec(tokenizer or Letters(), side, 10, ("en", "fr"), "letters")


def test_mbart_ends_a_source_with_its_language_and_starts_a_target_with_its_language() -> None:
    batch = codec("last").batch(SENTENCES)
    assert batch.source_NS.tolist() == [[5, 6, 2, 3], [5, 2, 4, 1]]
    assert batch.real_NS.tolist() == [[True, True, True, True], [True, True, True, False]]
    assert batch.prefix_NP.tolist() == [[4], [3]]
    assert batch.decoder_NT.tolist() == [[4, 7, 1], [3, 6, 7]]
    assert batch.label_NT.tolist() == [[7, 2, IGNORED], [6, 7, 2]]


def test_mbart_50_begins_a_source_with_its_language_and_has_no_loss_on_languages() -> None:
    batch = codec("first").batch(SENTENCES)
    assert batch.source_NS.tolist() == [[3, 5, 6, 2], [4, 5, 2, 1]]
    assert batch.prefix_NP.tolist() == [[2, 4], [2, 3]]
    assert batch.decoder_NT.tolist() == [[2, 4, 7, 1], [2, 3, 6, 7]]
    assert batch.label_NT.tolist() == [[IGNORED, 7, 2, IGNORED], [IGNORED, 6, 7, 2]]


@pytest.mark.parametrize("side", ["first", "last"])
def test_side_lengths_are_the_largest_lengths_in_a_batch(side: LanguageSide) -> None:
    letters = codec(side)
    for one in SENTENCES:
        batch = letters.batch([one])
        source, target = letters.side_lengths(one)
        assert source == batch.source_NS.shape[1]
        assert target - batch.decoder_NT.shape[1] == {"first": 0, "last": 1}[side]


def test_a_language_without_a_token_and_a_tokenizer_without_padding_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'letters' has no token for Czech \(cs_CZ, ces_Latn, __cs__\)"):
        Codec(Letters(), "last", 10, ("en", "cs"), "letters")

    class Bare(Letters):
        pad_token_id = cast("int", None)

    with pytest.raises(ModelError, match="'letters' has no pad token"):
        codec("last", Bare())


def test_the_loss_is_the_smoothed_cross_entropy_of_real_tokens() -> None:
    task = TwoToTwo(smoothing=0.2)
    torch.manual_seed(0)
    model, batch = task.model(), task.collate(task.data("train")[:5])
    loss, log_MV = task.loss_and_outputs(model, batch)
    label_M = batch.label_NT[batch.label_NT >= 0]
    by_hand = -(0.8 * log_MV[torch.arange(len(label_M)), label_M] + 0.2 * log_MV.mean(-1)).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(task.loss(model, batch), by_hand)


def test_translations_into_several_languages_do_not_depend_on_the_batch() -> None:
    task = TwoToTwo(longest=12)
    torch.manual_seed(0)
    model: Any = task.model().eval()
    examples = task.data("test")[::7]
    codec = task._codec
    together = translate(model, codec.batch(examples), codec, 3)
    assert len({one.direction.target for one in examples}) > 1
    assert together == [translate(model, codec.batch([one]), codec, 3)[0] for one in examples]


def test_sharing_the_source_between_beams_changes_no_translation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = TwoToTwo(longest=12)
    torch.manual_seed(2)
    model: Any = task.model().eval()
    batch = task.collate(task.data("test")[:6])
    shared = translate(model, batch, task._codec, 4)
    monkeypatch.setattr(beam_search, "SourceCache", DynamicCache)
    assert translate(model, batch, task._codec, 4) == shared


def test_a_beam_of_one_takes_the_most_probable_token_each_time() -> None:
    task = TwoToTwo(longest=8)
    torch.manual_seed(1)
    model: Any = task.model().eval()
    codec = task._codec
    batch = codec.batch(task.data("test")[:1])
    written = batch.prefix_NP
    for _ in range(8):
        logits = model(input_ids=batch.source_NS, decoder_input_ids=written).logits
        written = torch.cat([written, logits[:, -1:].argmax(-1)], 1)
        if written[0, -1] == codec.end:
            break
    wanted = written[0, batch.prefix_NP.shape[1] :].tolist()
    best = translate(model, batch, codec, 1)[0]
    assert best == (wanted[:-1] if wanted[-1] == codec.end else wanted)


def test_a_tiny_net_learns_six_sentences() -> None:
    task = TwoToTwo(limit=6, smoothing=0.0, longest=16)
    torch.manual_seed(0)
    model, examples = task.model().train(), task.data("train")
    optimizer, batch = torch.optim.AdamW(model.parameters(), lr=5e-3), task.collate(examples)
    for _ in range(120):
        optimizer.zero_grad()
        task.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    predicted = task.predict(model.eval(), batch)
    assert task.score(predicted, examples).value > 90
    assert predicted[0] == examples[0].target


def test_each_direction_is_scored_and_the_score_is_their_mean() -> None:
    sentences = [
        Sentence(Direction("en", "fr"), "-", "le chat dort dans la maison"),
        Sentence(Direction("fr", "en"), "-", "the cat sleeps in the house"),
    ]
    score = score_directions(["le chat dort dans la maison", "nothing"], sentences, 5)
    assert score.also["en-fr"] == pytest.approx(100) and score.also["fr-en"] == 0
    assert score.value == pytest.approx(50) and score.n == 2
    assert score.also_n == {"en-fr": 1, "fr-en": 1}
    assert "beam:5" in score.signature and "tok:13a" in score.signature and "version:" in score.signature


@pytest.mark.parametrize(
    ("code", "tokenizer"), [("zh", "tok:zh"), ("ja", "tok:ja-mecab"), ("my", "tok:char"), ("de", "tok:13a")]
)
def test_scripts_without_blanks_have_their_own_bleu_tokenizer(code: str, tokenizer: str) -> None:
    assert tokenizer in score_directions(["山"], [Sentence(Direction("en", code), "-", "山")], 5).signature


def test_the_learning_rate_falls_with_the_square_root_of_the_steps() -> None:
    recipe = Recipe(steps=100, schedule="inverse-sqrt", warmup=4)
    assert [recipe.rate(step, 1) for step in (0, 1, 3, 15, 63)] == [0.25, 0.5, 1.0, 0.5, 0.25]
