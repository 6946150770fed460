"""Errors of loading a checkpoint: whatever a library raises, in a few words that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from smc_eval.errors import ModelError
from smc_eval.kind import Checkpoint


def offline_error(model_name: str) -> ModelError:
    """The error for a hub id that is not complete in the local cache and cannot be fetched."""
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    reason = "HF_HUB_OFFLINE is set" if offline else "it does not answer"
    return ModelError(
        f"the model {model_name!r} is not complete in the local cache, and the hub cannot be reached "
        f"({reason})\nconnect this machine to the hub, or fetch the model into the cache beforehand with: "
        f"hf download {model_name}\n"
        "or give a local folder: --model DIR"
    )


@contextmanager
def readable_errors(checkpoint: Checkpoint, failure: str) -> Iterator[None]:
    """Turn any error of transformers into a ModelError of one sentence, and silence its messages."""
    import pickle

    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers.utils import logging

    python_errors = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    # a config of wrong values can cause any of these
    further_errors = (AssertionError, ArithmeticError, ImportError)
    library_errors = (SafetensorError, pickle.UnpicklingError, StrictDataclassError)

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (*python_errors, *further_errors, *library_errors) as error:
        if checkpoint.commit and isinstance(error, OSError):
            raise offline_error(checkpoint.name) from None
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"the model {checkpoint.name!r} brings Python code of its own, which smc-eval never runs; "
                "give a model of a type that transformers knows"
            ) from None
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(
                f"the tensors of model {checkpoint.name!r} have other shapes than in its config.json; "
                "give the config that was saved with them"
            ) from None
        if "tiktoken" in str(error):  # transformers' answer if a SentencePiece model cannot be read
            raise ModelError(
                f"the SentencePiece model of {checkpoint.name!r} cannot be read by transformers; "
                "update protobuf (pip install -U protobuf), or put a tokenizer.json beside its config.json"
            ) from None
        reason = shorten(str(error) or type(error).__name__, 300, placeholder=" …").rstrip(".")
        raise ModelError(
            f"the model {checkpoint.name!r} {failure}: {reason}\n"
            "give a complete checkpoint, as save_pretrained writes it"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
