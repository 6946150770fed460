"""Model card: what a reader of an exported folder must know, as its README.md."""

from __future__ import annotations

from collections.abc import Iterator

from smc_eval.exported import manifest as names
from smc_eval.exported.base_checkpoint import BaseCheckpoint
from smc_eval.exported.manifest import Manifest
from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import FindItems, decimals, make_cell_value
from smc_eval.store.record import Record
from smc_eval.target import level_text

UNTRAINED = {"tiny": "a small net that smc-eval builds", "scratch": "an untrained net that smc-eval builds"}

FILE_MEANINGS = {
    names.MODEL_FILE: "the model, in its own names",
    names.PACKED_FILE: "the model, packed: transformers does not read it",
    names.HEAD_FILE: "the rest of the task's net: its head",
    names.NET_FILE: "the state dict of the task's net",
    names.MASKS_FILE: "the masks, eight to a byte: 1 is an unpruned weight",
}


def model_card(
    record: Record,
    manifest: Manifest,
    base: BaseCheckpoint,
    find_items: FindItems,
    command: str,
    score_flags: str,
) -> str:
    """The card as Markdown, with the front matter that the hub reads."""
    sections = (
        _front_matter(base, manifest),
        _title(record, manifest),
        _facts(record, manifest, base, find_items),
        _loading(manifest),
        _again(command, score_flags),
    )
    return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"


def _front_matter(base: BaseCheckpoint, manifest: Manifest) -> Iterator[str]:
    yield "---"
    if manifest.form == "model":
        yield "library_name: transformers"
    if base.is_hub_id:
        yield f"base_model: {base.name}"
    if base.licence:
        yield f"license: {base.licence}"
    yield "tags:"
    yield "- sparse"
    yield "- smc-eval"
    yield "---"


def _title(record: Record, manifest: Manifest) -> Iterator[str]:
    level = "" if record.method == DENSE else f" at {_level(record)}"
    yield f"# {record.method}{level} on {record.task}"
    yield ""
    began = UNTRAINED.get(record.model, f"`{record.model}`")
    pruned = "trained" if record.method == DENSE else f"trained and pruned by `{record.method}`"
    yield f"This net began as {began}. smc-eval {record.versions.get('smc-eval', '')} {pruned} it."
    if manifest.format != "dense":
        yield f"Its weights are in the archive format `{manifest.format}`: load them with smc-eval."


def _facts(record: Record, manifest: Manifest, base: BaseCheckpoint, find_items: FindItems) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in _rows(record, manifest, base, find_items))


def _rows(
    record: Record, manifest: Manifest, base: BaseCheckpoint, find_items: FindItems
) -> Iterator[tuple[str, str]]:
    certificate = record.certificate
    assert record.sparsity is not None
    assert certificate is not None
    fold = "" if record.fold is None else f", fold {record.fold}"
    built = record.model in UNTRAINED
    yield "base model", UNTRAINED.get(record.model, record.model)
    yield (
        "licence of the base model",
        "none: it has no base model" if built else base.licence or "not stated in its files",
    )
    yield "task", f"{record.task}{fold}"
    yield "method", record.method
    yield (
        "sparsity of the scope",
        f"{record.sparsity.scope:.6g} ({certificate.remaining} of {certificate.in_scope} weights remain)",
    )
    yield "sparsity of all matrices", f"{record.sparsity.weights:.6g}"
    yield "sparsity of all parameters", f"{record.sparsity.all:.6g}"
    yield "score", _score(record, find_items)
    target = record.target
    dense = record.method == DENSE
    yield (
        "protocol",
        record.protocol
        if dense
        else f"{record.protocol}; scope {target.scope}; distribution {target.distribution}",
    )
    yield "seed", str(record.seed)
    yield (
        "data",
        record.data.source
        + (f", the first {record.data.limited} examples of each part" if record.data.limited else ""),
    )
    yield "certificate", "holds" if certificate.ok else "; ".join(certificate.failed)
    yield "net", manifest.weights
    if manifest.not_trained:
        sources = "; ".join(dict.fromkeys(manifest.not_trained.values()))
        yield (
            "not of this net",
            f"{', '.join(manifest.not_trained)} ({sources}): the class has them, the task does not use them",
        )
    for note in record.notes:
        yield "note", note


def _score(record: Record, find_items: FindItems) -> str:
    assert record.score is not None
    digits = decimals([record])
    value = make_cell_value([record], [record], digits, find_items)
    text = f"{record.score.metric}: {value.value:.{digits}f}"
    interval = value.interval
    if interval is None:
        return f"{text}; no interval, as its predictions are not stored"
    return (
        f"{text}, 95 % interval {interval.low:.{digits}f} to {interval.high:.{digits}f} over {interval.over}"
    )


def _loading(manifest: Manifest) -> Iterator[str]:
    yield "## Files"
    yield ""
    for name, meaning in FILE_MEANINGS.items():
        if name in manifest.files:
            yield f"- `{name}`: {meaning}"
    yield f"- `{names.MANIFEST}`: the record of the run, with the certificate of its sparsity"
    if manifest.form == "model" and manifest.format == "dense":
        yield ""
        yield "```python"
        yield "from transformers import AutoModel"
        yield ""
        yield 'model = AutoModel.from_pretrained("DIR")'
        yield "```"


def _again(command: str, score_flags: str) -> Iterator[str]:
    yield "## Again"
    yield ""
    yield "The run that made it, and its score from this folder alone:"
    yield ""
    yield "```sh"
    yield command
    yield f"smc-eval --model DIR {score_flags}"
    yield "```"


def _level(record: Record) -> str:
    return level_text(record.target.pattern, f"{record.target.sparsity:.4g}")
