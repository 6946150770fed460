"""The tokenizer of `tiny`: a small version of RoBERTa's."""

from __future__ import annotations

from smc_eval.tasks import tiny

TEXTS = ["Anna has apples", "Ben eats apples"] * 3


def test_special_tokens_have_the_ids_of_roberta() -> None:
    tokenizer = tiny.tiny_tokenizer(TEXTS, 300)
    ids = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert ids == (0, 1, 2, 3)
    assert tokenizer.mask_token_id is None


def test_the_mask_token_comes_last_and_changes_no_other_id() -> None:
    plain, masking = tiny.tiny_tokenizer(TEXTS, 300), tiny.tiny_tokenizer(TEXTS, 300, mask=True)
    assert masking.mask_token_id == len(plain) == len(masking) - 1
    assert plain("Anna eats")["input_ids"] == masking("Anna eats")["input_ids"]


def test_a_tokenizer_is_the_same_each_time() -> None:
    first, second = tiny.tiny_tokenizer(TEXTS, 300), tiny.tiny_tokenizer(iter(TEXTS), 300)
    assert first.get_vocab() == second.get_vocab()


def test_the_longest_input_uses_all_positions_of_roberta() -> None:
    config = tiny.tiny_config(300)
    assert config.max_position_embeddings - config.pad_token_id - 1 == tiny.POSITIONS
