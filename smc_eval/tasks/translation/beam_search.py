"""Beam search over a batch whose sentences may lead to different languages."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig

from smc_eval.tasks.translation.codec import Codec, TextBatch


class Read(DynamicCache):
    """Keys and values of the sources. All beams of a sentence read the same, so nothing changes places."""

    def reorder_cache(self, beam_idx: Any) -> None:
        """Leave all where it is."""


def translated(model: Any, batch: TextBatch, codec: Codec, beam: int) -> list[list[int]]:
    """The best translation of each sentence, as ids without its prefix and what follows its end.

    Everything that generation depends on is said here; what a checkpoint's own settings say is not
    heard, so that two models are searched alike. A sentence's translation depends on no other's.
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
    written = DynamicCache(config=model.config.get_text_config(decoder=True))
    written_NT = model.generate(
        input_ids=batch.source_NS,
        attention_mask=batch.real_NS.long(),
        decoder_input_ids=batch.prefix_NP,
        generation_config=settings,
        past_key_values=EncoderDecoderCache(written, Read()),
    )
    prefix = batch.prefix_NP.shape[1]
    return [_until(row[prefix:], codec.end) for row in written_NT.tolist()]


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
