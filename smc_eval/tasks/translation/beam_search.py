"""Beam search over a batch whose sentences may have different target languages."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig

from smc_eval.tasks.translation.codec import Codec, TextBatch


class SourceCache(DynamicCache):
    """Keys and values of the sources. All beams of a sentence share them, so nothing is reordered."""

    def reorder_cache(self, beam_idx: Any) -> None:
        """Do nothing."""


def translate(model: Any, batch: TextBatch, codec: Codec, beam: int) -> list[list[int]]:
    """The best translation of each sentence, as ids without the prefix and the end token.

    All settings of the generation are given here, and those of the checkpoint are ignored, so that the
    search is the same for all models. The translation of a sentence depends on no other sentence.
    """
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        num_beams=beam,
        max_new_tokens=codec.longest,
        length_penalty=1.0,
        early_stopping=False,
        do_sample=False,
        pad_token_id=codec.padding,
        eos_token_id=codec.end,
        decoder_start_token_id=batch.prefix_NP[:, 0].tolist(),
    )
    target_cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    output_NT = model.generate(
        input_ids=batch.source_NS,
        attention_mask=batch.real_NS.long(),
        decoder_input_ids=batch.prefix_NP,
        generation_config=settings,
        past_key_values=EncoderDecoderCache(target_cache, SourceCache()),
    )
    prefix = batch.prefix_NP.shape[1]
    return [_up_to(row[prefix:], codec.end) for row in output_NT.tolist()]


def _up_to(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
