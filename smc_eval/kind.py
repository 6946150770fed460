"""A ModelKind: a kind of checkpoint, how it is recognised, loaded and built for a trial."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field

from smc_eval.errors import ModelError, PluginError, SmcError, first_line, named_value
from smc_eval.spec import Card, Spec

if TYPE_CHECKING:
    from torch import nn

Form = Literal["tiny", "scratch"]
"""Untrained nets: `tiny` trains in seconds, for trials; `scratch` has a size to be trained from the start."""


def form_of(model_name: str) -> Form | None:
    """The form that `--model` names; None if it names a checkpoint."""
    return next((form for form in get_args(Form) if form == model_name), None)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found. Its config is read, and nothing is loaded yet."""

    name: str
    """The name that the user gave."""
    location: str
    """A folder, or a hub id."""
    commit: str | None
    """The commit of a hub id; None for a folder."""
    config: Mapping[str, Any]
    """Its config.json."""

    @property
    def folder(self) -> Path | None:
        """Its folder; None for a hub id, whose files may not have been fetched yet."""
        return None if self.commit else Path(self.location)


class KindCard(Card):
    """The card of a kind of model."""

    example: str = Field(min_length=1)
    """A model of this kind, as in `--model`: a refusal names it."""
    builds: tuple[Form, ...] = ()
    """The forms that it can build without a checkpoint."""


class WrongKind(ModelError):
    """The checkpoint exists, but the task takes another kind."""


class ModelKind(Spec):
    """A kind of model, such as a text encoder. A task names the kinds that it takes on its card.

    Fields are options of loading, such as a dropout. Tasks set them; users do not.
    """

    card: ClassVar[KindCard]

    @abstractmethod
    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        """Why a checkpoint is not of this kind, as words that follow `the model … is`; empty if it is.

        It decides by the config.json, which has a `model_type`, and by the tokens of the vocabulary; None if
        they are not known yet. It does not know the name of the model. Fast, and without torch.
        """

    def why_not_loadable(self, config: Mapping[str, Any]) -> str:
        """Why a checkpoint that `why_not` claims cannot be loaded, in words of the same form. Default: empty.

        Fast, and without torch.
        """
        return ""

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> nn.Module:
        """The pretrained net in fp32.

        Raises:
            ModelError: the checkpoint is broken; or a WrongKind that only loading shows, see `wrong`.
        """

    def load_tokenizer(self, checkpoint: Checkpoint) -> Any:
        """Whatever turns the task's examples into the net's inputs. Default: None.

        Raises:
            ModelError: it is missing or broken.
        """
        return None

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        """The tokenizer of a net without a checkpoint, trained on texts. Default: None."""
        return None

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        """An untrained net of a form that the card names. Random weights come from torch's generator.

        Raises:
            PluginError: it builds no such form.
        """
        raise self.builds_no(form)

    def builds_no(self, form: Form) -> PluginError:
        """The error for a form that the card does not name."""
        return PluginError(f"{self.identity} builds no {form!r}; it builds: {', '.join(self.card.builds)}")

    def wrong(self, model_name: str, description: str) -> WrongKind:
        """The error for a model that is of another kind."""
        noun = self.card.name.replace("-", " ")
        article = "an" if noun[0] in "aeiou" else "a"
        return WrongKind(
            f"the model {model_name!r} is {description}; "
            f"this task takes {article} {noun} such as {self.card.example}"
        )


def reason_against(kind: ModelKind, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
    """Why a kind does not take a checkpoint: it is of another kind, or cannot be loaded. Empty if it does.

    Raises:
        PluginError: the kind fails, or gives something else than a text.
    """
    return reason_of_kind(kind, config, tokens) or _checked(
        kind, config, lambda: kind.why_not_loadable(config)
    )


def reason_of_kind(kind: ModelKind, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
    """`kind.why_not`, checked.

    Raises:
        PluginError: it fails, or gives something else than a text.
    """
    return _checked(kind, config, lambda: kind.why_not(config, tokens))


def _checked(kind: ModelKind, config: Mapping[str, Any], reason_by: Callable[[], object]) -> str:
    """A reason against a checkpoint, if it is a text."""
    try:
        reason = reason_by()
    except SmcError:
        raise
    except (Exception, SystemExit) as error:  # a plugin can raise anything
        fault = f"{type(error).__name__}: {first_line(error)}"
        raise PluginError(
            f"{kind.identity} failed on the config of a {config.get('model_type')} model: {fault}"
        ) from error
    if not isinstance(reason, str):
        raise PluginError(
            f"{kind.identity} gave {named_value(reason)} as its reason against a model; "
            "wanted a text, empty if the model is of this kind"
        )
    return reason


UNKNOWN_TYPE: Mapping[str, Any] = {"model_type": "smc-eval-specimen", "architectures": ["Specimen"]}
"""The config of a model that no library knows."""

SPECIMENS: Mapping[str, Mapping[str, Any]] = {
    "an encoder": {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
    "a causal language model": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "an encoder-decoder": {
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
        "is_encoder_decoder": True,
    },
    "an image classifier": {"model_type": "vit", "architectures": ["ViTForImageClassification"]},
    "a model of no known type": UNKNOWN_TYPE,
}
"""Configs of very different models. A kind that claims them all recognises nothing."""


def refuse_greedy(kind: ModelKind) -> None:
    """Refuse a kind that fails on the config of another model, or that claims every model.

    Raises:
        PluginError: it does.
    """
    try:
        reasons = [
            reason_of_kind(kind, config, tokens)
            for config in SPECIMENS.values()
            for tokens in (None, ("a", "the"))
        ]
    except PluginError as error:
        raise PluginError(f"registers a kind of model that fails: {error}") from error
    if not any(reasons):
        raise PluginError(
            f"registers {kind.identity}, a kind that claims every model: {', '.join(SPECIMENS)}; "
            "let `why_not` give a reason against those that it cannot load"
        )
