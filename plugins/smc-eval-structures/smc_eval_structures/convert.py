"""Converter of the published checkpoint of ESM-IF1 to a folder that `--model` can name.

It reads `esm_if1_gvp4_t16_142M_UR50.pt` of https://dl.fbaipublicfiles.com/fair-esm/models/, a pickle of an
`argparse.Namespace` and of tensors, and runs nothing that it holds. The decoder is left out.
"""

from __future__ import annotations

import argparse
import pickle
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval_structures.config import EncoderConfig

if TYPE_CHECKING:
    from torch import Tensor

ADDRESS = "https://dl.fbaipublicfiles.com/fair-esm/models/esm_if1_gvp4_t16_142M_UR50.pt"

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"

CONFIG_ARGUMENTS: Mapping[str, str] = {
    "width": "encoder_embed_dim",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "inner": "encoder_ffn_embed_dim",
    "graph_layers": "gvp_num_encoder_layers",
    "node_scalars": "gvp_node_hidden_dim_scalar",
    "node_vectors": "gvp_node_hidden_dim_vector",
    "edge_scalars": "gvp_edge_hidden_dim_scalar",
    "edge_vectors": "gvp_edge_hidden_dim_vector",
    "neighbours": "gvp_top_k_neighbors",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "graph_dropout": "gvp_dropout",
}
"""The published name of each field of `EncoderConfig`."""

OLD_PARTS: Mapping[str, str] = {
    "W_v": "embed_graph.embed_node",
    "W_e": "embed_graph.embed_edge",
    "embed_scores.0": "embed_confidence",
    "embed_score": "embed_graph.embed_confidence",
    "embed_ingraham_features": "embed_dihedrals",
    "embed_gvp_in_local_frame.0": "embed_gvp_output",
    "embed_features_in_local_frame.0": "embed_gvp_input_features",
}
"""Parts of names in the published file, and what the published code calls them."""

TABLE = "embed_tokens.weight"
"""Published table of tokens. The encoder reads its row of `<mask>` alone."""

MASK_ROW = -3
"""The last tokens of the published alphabet are `<mask>`, `<cath>`, `<af2>`."""

OUR_NAMES = (
    (r"gvp_encoder\.embed_graph\.embed_(node|edge)\.0\.", r"graph.\1_in."),
    (r"gvp_encoder\.embed_graph\.embed_(node|edge)\.1\.scalar_norm\.", r"graph.\1_norm.scalars."),
    (r"gvp_encoder\.embed_graph\.embed_confidence\.", "graph.confidence_in."),
    (r"gvp_encoder\.encoder_layers\.(\d+)\.conv\.message_func\.", r"graph.layers.\1.message."),
    (r"gvp_encoder\.encoder_layers\.(\d+)\.ff_func\.", r"graph.layers.\1.update."),
    (r"gvp_encoder\.encoder_layers\.(\d+)\.norm\.0\.scalar_norm\.", r"graph.layers.\1.message_norm.scalars."),
    (r"gvp_encoder\.encoder_layers\.(\d+)\.norm\.1\.scalar_norm\.", r"graph.layers.\1.update_norm.scalars."),
    (r"embed_dihedrals\.node_embedding\.", "torsions_in."),
    (r"embed_dihedrals\.norm_nodes\.", "torsions_norm."),
    (r"embed_gvp_output\.", "graph_out."),
    (r"embed_gvp_input_features\.", "local_in."),
    (r"embed_confidence\.", "confidence_in."),
    (r"layers\.(\d+)\.self_attn\.(q|k|v|out)_proj\.", r"layers.\1.\2."),
    (r"layers\.(\d+)\.self_attn_layer_norm\.", r"layers.\1.attention_norm."),
    (r"layers\.(\d+)\.final_layer_norm\.", r"layers.\1.feedforward_norm."),
    (r"layers\.(\d+)\.fc1\.", r"layers.\1.up."),
    (r"layers\.(\d+)\.fc2\.", r"layers.\1.down."),
    (r"layer_norm\.", "norm."),
)
"""Beginnings of published names below `encoder.`, and of ours."""

OUR_PARTS: Mapping[str, str] = {
    "wh": "hidden",
    "ws": "scalars",
    "wv": "vectors",
    "wg": "gate",
    "q": "query",
    "k": "key",
    "v": "value",
}
"""Parts of a name that stand alone between dots."""

WITHOUT_WEIGHTS = ("embed_positions._float_tensor", "version")
"""Ends of published names of buffers that hold no weights."""


def convert(checkpoint: Path, folder: Path) -> EncoderConfig:
    """Write the encoder of a published checkpoint to a new folder.

    Raises:
        ModelError: the file is not such a checkpoint, or the folder exists and is not empty.
    """
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} exists; name a new folder for the converted model")
    content = _read(checkpoint)
    config = config_of(content["args"], checkpoint)
    tensors = our_tensors(content["model"], checkpoint)
    check_tensors(config, tensors, str(checkpoint))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as place:
        whole = Path(place) / folder.name
        whole.mkdir()
        save_file(tensors, whole / WEIGHTS_FILE, metadata={"format": "pt"})
        (whole / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return config


def our_tensors(published: Mapping[str, Tensor], checkpoint: Path | str) -> dict[str, Tensor]:
    """The tensors of the encoder by our names, in fp32.

    Raises:
        ModelError: a name of the encoder is not known, or two stand for one tensor.
    """
    from torch import Tensor

    tensors = dict[str, Tensor]()
    for name, tensor in published.items():
        if not name.startswith("encoder.") or name.endswith(WITHOUT_WEIGHTS):
            continue
        ours = our_name(name.removeprefix("encoder."))
        if ours is None or ours in tensors or not isinstance(tensor, Tensor):
            raise ModelError(
                f"{checkpoint} holds {name!r}, which the encoder of ESM-IF1 has not; "
                f"wanted the published checkpoint: {ADDRESS}"
            )
        tensors[ours] = (tensor[MASK_ROW] if ours == "token" else tensor).detach().float().clone()
    if not tensors:
        raise ModelError(f"{checkpoint} holds no encoder; wanted the published checkpoint: {ADDRESS}")
    return tensors


def our_name(name: str) -> str | None:
    """Our name of a published tensor of the encoder; None if there is none."""
    for old, new in OLD_PARTS.items():
        name = re.sub(rf"(^|\.){re.escape(old)}\.", rf"\g<1>{new}.", name)
    if name == TABLE:
        return "token"
    for pattern, ours in OUR_NAMES:
        changed, count = re.subn(f"^{pattern}", ours, name)
        if count:
            return ".".join(OUR_PARTS.get(part, part) for part in changed.split("."))
    return None


def config_of(arguments: object, checkpoint: Path | str) -> EncoderConfig:
    """The config, from the arguments in a published checkpoint.

    Raises:
        ModelError: one is missing or wrong.
    """
    given = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    if missing := [name for name in CONFIG_ARGUMENTS.values() if name not in given]:
        raise ModelError(
            f"the arguments in {checkpoint} have no {missing[0]}; wanted the published checkpoint: {ADDRESS}"
        )
    try:
        return EncoderConfig(**{ours: given[theirs] for ours, theirs in CONFIG_ARGUMENTS.items()})
    except ValueError as error:
        raise ModelError(f"the arguments in {checkpoint}: {error}") from None


def check_tensors(config: EncoderConfig, tensors: Mapping[str, Tensor], model_name: str) -> None:
    """Refuse tensors that are not exactly those of an encoder of this config.

    Raises:
        ModelError: one is missing, further, of another shape or not finite; the first is named.
    """
    import torch

    from smc_eval_structures.encoder import StructureEncoder

    with torch.device("meta"):
        shapes = {name: tuple(part.shape) for name, part in StructureEncoder(config).state_dict().items()}
    if missing := [name for name in shapes if name not in tensors]:
        raise ModelError(
            f"the checkpoint {model_name!r} lacks {len(missing)} tensors of its net, {missing[0]!r} first; "
            "it is incomplete, or its config.json belongs to another net"
        )
    if further := [name for name in tensors if name not in shapes]:
        raise ModelError(
            f"the checkpoint {model_name!r} holds {len(further)} tensors that its net does not take, "
            f"{further[0]!r} first; give the config.json that was saved with them"
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ModelError(
                f"{name!r} of the checkpoint {model_name!r} has shape {tuple(tensor.shape)}; its config.json "
                f"wants {shapes[name]}: give the config.json that was saved with it"
            )
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"{name!r} of the checkpoint {model_name!r} holds a value that is not finite")


def _read(checkpoint: Path) -> dict[str, Any]:
    """The arguments and the tensors of a published checkpoint."""
    import torch

    if not checkpoint.is_file():
        raise ModelError(f"cannot read {checkpoint}: there is no such file; fetch it from {ADDRESS}")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of what the file is not; the error says it
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{checkpoint} is no checkpoint of tensors ({reason[:120]}); wanted the published one: {ADDRESS}"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict) or "args" not in content:
        raise ModelError(
            f"{checkpoint} holds no 'args' and 'model'; wanted the published checkpoint: {ADDRESS}"
        )
    return content


def main() -> None:
    """The command `smc-eval-convert-esm-if1 CHECKPOINT FOLDER`."""
    parser = argparse.ArgumentParser(
        prog="smc-eval-convert-esm-if1",
        description=f"Write the encoder of ESM-IF1 to a folder for --model. The checkpoint is at {ADDRESS}",
    )
    parser.add_argument("checkpoint", type=Path, help="the published file, esm_if1_gvp4_t16_142M_UR50.pt")
    parser.add_argument("folder", type=Path, help="a new folder")
    words = parser.parse_args()
    try:
        convert(words.checkpoint, words.folder)
    except (ModelError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
