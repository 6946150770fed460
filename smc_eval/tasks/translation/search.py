"""Beam search over a batch whose sentences may lead to different languages."""

from __future__ import annotations

from typing import Any

from smc_eval.tasks.translation.codec import Batch, Codec


def translated(model: Any, batch: Batch, codec: Codec, beam: int) -> list[list[int]]:
    """The best translation of each sentence, as ids without its prefix and what follows its end.

    Everything that generation depends on is said here; what a checkpoint's own settings say is not
    heard, so that two models are searched alike. A sentence's translation depends on no other's.
    """
    from transformers import GenerationConfig

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
    written_NT = model.generate(
        input_ids=batch.source_NS,
        attention_mask=batch.real_NS.long(),
        decoder_input_ids=batch.prefix_NP,
        generation_config=settings,
    )
    prefix = batch.prefix_NP.shape[1]
    return [_until(row[prefix:], codec.end) for row in written_NT.tolist()]


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
