"""The checker: reads the files of a store and finds results that are wrong. It uses nothing of smc-eval."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

BODY = ("encoder.weight_ih_l0", "encoder.weight_hh_l0", "down.weight", "odd.weight")
"""Tensors of the toy net that scope `body` counts. Its output layer is tied to the embedding."""
SHAPES = {"words.weight": (12, 8), "down.weight": (8, 10), "odd.weight": (5, 7)} | {
    "encoder.weight_ih_l0": (30, 8),
    "encoder.weight_hh_l0": (30, 10),
}
RANGES = {
    "accuracy (%)": (0, 100),
    "value accuracy (%)": (0, 100),
    "BLEU": (0, 100.0001),
    "Spearman's rho": (-1, 1),
}
ALTERED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    struct.error,
    zlib.error,
)
"""Errors of reading a file that is cut short or altered; no reader believes such a file."""


def faults(store: Path, nets: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each wrong thing in the good records of a store.

    Args:
        store: the folder.
        nets: the digest of the last net of each record's digest.
    """
    for record in good_records(store):
        for fault in [
            *_record_faults(record),
            *_mask_faults(record, store, nets),
            *_answer_faults(record, store),
        ]:
            yield f"record {record['method']} {record['target']['sparsity']} of {record['task']}: {fault}"


def good_records(store: Path) -> list[dict[str, Any]]:
    """The last record of each cell whose line has its seal, if the record is certified."""
    latest = {}
    file = store / "results.jsonl"
    for line in file.read_bytes().split(b"\n") if file.is_file() else []:
        try:
            record = json.loads(line)
            if record.pop("seal") in {seal(record), seal_of_bytes(line)}:
                latest[record["digest"]] = record
        except ALTERED:
            continue
    return [
        record for record in latest.values() if record["status"] == "ok" and record["certificate"].get("ok")
    ]


def seal_of_bytes(line: bytes) -> str:
    """SHA-256 of a line without its last value, the seal."""
    return hashlib.sha256(line[: line.rfind(b', "seal": ')] + b"}").hexdigest()


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of the sorted, compact JSON of a list of the record alone."""
    text = json.dumps([record], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _record_faults(record: Mapping[str, Any]) -> Iterator[str]:
    certificate, score, target = record["certificate"], record["score"], record["target"]
    size, left = certificate["in_scope"], certificate["remaining"]
    if abs(record["sparsity"]["scope"] - (1 - left / size)) > 1e-12:
        yield f"sparsity {record['sparsity']['scope']} of {left} remaining weights of {size}"
    if certificate["asked"] is not None and target["pattern"] == "free":
        wanted = round(size * (1 - target["sparsity"]))
        if left != wanted:
            yield f"{left} weights remain of {size}; wanted {wanted}"
    low, high = RANGES.get(score["metric"], (-math.inf, math.inf))
    if type(score["value"]) not in {int, float} or not low <= score["value"] <= high or score["n"] < 1:
        yield f"score {score['value']} of {score['n']} examples"
    if certificate["revived"] or certificate["largest_under_mask"] or not certificate["finite"]:
        yield "certified although weights under masks are not zero, or not finite"


def _mask_faults(record: Mapping[str, Any], store: Path, nets: Mapping[str, str]) -> Iterator[str]:
    file = store / "masks" / f"{record['digest']}.safetensors"
    if not file.is_file():
        return
    certificate = record["certificate"]
    masks = _masks(file.read_bytes(), record["digest"])
    if masks is None:
        return
    if record["method"] == "dense" and masks:
        yield "the dense net has masks"
    if not masks:
        if certificate["remaining"] != certificate["in_scope"]:
            yield f"no masks, and {certificate['remaining']} of {certificate['in_scope']} weights remain"
        return
    left, size = sum(int(m.sum()) for m in masks.values()), sum(m.size for m in masks.values())
    if (left, size) != (certificate["remaining"], certificate["in_scope"]):
        certified = f"{certificate['remaining']} of {certificate['in_scope']}"
        yield f"masks leave {left} of {size}, the certificate says {certified}"
    yield from _tensor_faults(record, masks)
    net = _net(store / "nets" / nets.get(record["digest"], "none"))
    yield from _net_faults(net, masks) if net else ()


def _tensor_faults(record: Mapping[str, Any], masks: Mapping[str, np.ndarray]) -> Iterator[str]:
    certificate, target = record["certificate"], record["target"]
    dead = {name for name, mask in masks.items() if not mask.any()}
    if dead != set(certificate["dead_tensors"]):
        yield f"dead tensors are {sorted(dead)}, the certificate says {certificate['dead_tensors']}"
    for name, mask in masks.items():
        if abs(1 - mask.mean() - certificate["tensors"].get(name, -1)) > 1e-12:
            yield f"the sparsity of {name} is not that of its mask"
    if "toy" in record["task"] and (wanted := _toy_scope(target)) != masks.keys():
        yield f"masks of {sorted(masks)}; scope {target['scope']} has {sorted(wanted)}"
    if "+" in record["method"] and target["distribution"] == "rows":
        target = {**target, "distribution": "uniform"}  # an ablation keeps the count of each tensor alone
    yield from _distribution_faults(masks, target)


def _distribution_faults(masks: Mapping[str, np.ndarray], target: Mapping[str, Any]) -> Iterator[str]:
    if target["pattern"] != "free":
        n, m = map(int, target["pattern"].split(":"))
        for name, mask in masks.items():
            rows = mask.reshape(len(mask), -1)
            whole = rows.shape[1] - rows.shape[1] % m
            if (rows[:, :whole].reshape(-1, m).sum(1) != n).any():
                yield f"{name} breaks the pattern {target['pattern']}"
            if (
                rows[:, whole:].size
                and (rows[:, whole:].sum(1) != -(-(rows.shape[1] - whole) * n // m)).any()
            ):
                yield f"the last groups of {name} break the pattern {target['pattern']}"
    elif target["distribution"] in {"uniform", "rows"}:
        for name, mask in masks.items():
            parts = mask.reshape(len(mask), -1) if target["distribution"] == "rows" else mask.reshape(1, -1)
            away = np.abs(parts.sum(1) - parts.shape[1] * (1 - target["sparsity"]))
            if (away > 1 + 1e-9).any():
                yield f"{name} is not {target['distribution']}: a part is {away.max():g} weights away"


def _net_faults(net: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, mask in masks.items():
        if name not in net or net[name].shape != mask.shape:
            yield f"the net has no tensor {name} of the mask's shape"
        elif net[name][~mask].any():
            yield f"{name} has values under its mask"
    parameters = {name: net[name] for name in net if name.rpartition(".")[2].startswith(("weight", "bias"))}
    if wild := [name for name, weight in parameters.items() if not np.isfinite(weight).all()]:
        yield f"{wild} have values that are not finite"


def _answer_faults(record: Mapping[str, Any], store: Path) -> Iterator[str]:
    file = store / "predictions" / f"{record['digest']}.json.gz"
    if not file.is_file():
        return
    try:
        content = json.loads(gzip.decompress(file.read_bytes()))
        predicted, items = content["predicted"], content["items"]
        own = content.pop("seal") == hashlib.sha256(json.dumps(content).encode()).hexdigest()
        if not own or content["digest"] != record["digest"]:
            return
    except ALTERED:
        return
    value, n = record["score"]["value"], record["score"]["n"]
    if not isinstance(predicted, list):
        return
    if items and items.get("kind") == "mean" and not items.get("groups"):
        mean = math.fsum(row[0] for row in items["rows"]) / len(items["rows"])
        if abs(mean - value) > 1e-9 or len(items["rows"]) != n:
            yield f"score {value} of {n} examples; its items have mean {mean} of {len(items['rows'])}"
    if record["task"] == "toy":
        answers = _toy_answers()[: record["data"]["limited"]]
        right = [a == b for a, b in zip(predicted, answers, strict=False)]
        if len(predicted) != len(answers) or abs(100 * sum(right) / len(right) - value) > 1e-9:
            yield f"score {value}; {sum(right)} of {len(answers)} of its {len(predicted)} answers are right"


def _toy_answers() -> list[int]:
    """Answers of the toy's test examples: the token that occurs twice, in the order of the examples."""
    generator, answers = random.Random("test"), []
    for _ in range(20):
        tokens = generator.sample(range(12), 5)
        tokens[generator.randrange(1, 5)] = tokens[0]
        answers.append(tokens[0])
    return answers


def _toy_scope(target: Mapping[str, Any]) -> set[str]:
    names = {*BODY, *(["words.weight"] if target["scope"] == "all-2d" else [])}

    def matched(patterns: list[str]) -> set[str]:
        return {n for n in names for p in patterns for t in (n, n.rpartition(".")[0]) if fnmatchcase(t, p)}

    patterns = [*target.get("include", []), *target.get("exclude", [])]
    if any(pattern.startswith("re:") for pattern in patterns):
        patterns = [pattern.replace("re:.*", "*") for pattern in patterns]
    include = [pattern.replace("re:.*", "*") for pattern in target.get("include", [])]
    exclude = [pattern.replace("re:.*", "*") for pattern in target.get("exclude", [])]
    return (matched(include) if include else names) - matched(exclude)


def _masks(content: bytes, cell: str) -> dict[str, np.ndarray] | None:
    """Masks of a file of bits; None if it is altered, or that of another cell: no reader believes it."""
    try:
        length = struct.unpack("<Q", content[:8])[0]
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        shapes, packed = json.loads(metadata["shapes"]), load(content)
    except (*ALTERED, SafetensorError):
        return None
    total, masks = hashlib.sha256(), {}
    for name in sorted(packed):
        total.update(f"{name}{tuple(shapes[name])}".encode() + packed[name].tobytes())
        bits = np.unpackbits(packed[name], count=math.prod(shapes[name]), bitorder="little")
        masks[name] = bits.astype(bool).reshape(shapes[name])
    return masks if (metadata["cell"], metadata["digest"]) == (cell, total.hexdigest()) else None


def _net(folder: Path) -> dict[str, np.ndarray] | None:
    """Tensors of a stored net; None if it is not there, or altered."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        content = (folder / "net.safetensors").read_bytes()
        whole = hashlib.sha256(content).hexdigest() == meta["seals"]["net.safetensors"]
        return load(content) if whole and meta["digest"] == folder.name else None
    except ALTERED:
        return None
