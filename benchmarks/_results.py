"""Results of the benchmarks: where they were measured, JSON files, and tables in Markdown."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import string
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np


def provenance(**extra: Any) -> dict[str, Any]:
    """Return machine, versions and date, to stand in every result file."""
    packages = ("sklearn-robust", "numpy", "scipy", "scikit-learn", "skorch", "torch")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if str(extra.get("device", "cpu")).startswith("cuda"):
        extra["gpu"] = _gpu(extra["device"])
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
        **extra,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu(device: Any) -> str:
    import torch  # which the benchmarks of linear models do without

    return torch.cuda.get_device_name(device)


def cost(content: dict[str, Any]) -> tuple[str, str]:
    """Return how many minutes a training took, as text, and on what.

    On a CPU it is the time that the process computed, which says more than that of the clock on a
    machine with other work; on a GPU, for which the process waits, it is that of the clock.
    """
    gpu = content.get("gpu")
    seconds = content["training_seconds" if gpu else "training_process_seconds"]
    return f"{seconds / 60:.1f}", gpu.removeprefix("NVIDIA ") if gpu else "CPU"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` in one step, so that a killed run leaves the old file or the new one."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
    partial.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def grouped(
    rows: Iterable[dict[str, Any]], *fields: str
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return rows by the values of some of their fields, in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in fields), []).append(row)
    return groups


def format_table(header: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table, padded so that it reads well in a terminal too."""
    cells = [list(map(str, row)) for row in (header, *body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


class _Cell(string.Formatter):
    """Format as str.format does, but a share in per cent without the sign: it is in the heading."""

    def format_field(self, value: Any, format_spec: str) -> str:
        text = super().format_field(value, format_spec)
        return text.removesuffix("%") if format_spec.endswith("%") else text


def rows_table(rows: Iterable[Mapping[str, Any]], heading: str, line: str) -> str:
    """Return a Markdown table of a line for each row, a format of the row's fields.

    Columns are separated by "|"; ``{clean:.1%}`` shows 0.98 as 98.0.

    Examples
    --------
    >>> print(rows_table([{"clean": 0.98}], "clean | share", "{clean:.1%} | {clean:g}"))
    | clean | share |
    |-------|-------|
    | 98.0  | 0.98  |
    """
    fills = _cells(line)
    body = [[_Cell().vformat(fill, (), row) for fill in fills] for row in rows]
    return format_table(_cells(heading), body)


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split("|")]
