"""What every benchmark shares: where it ran, and how its result is written and printed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Sequence
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


def earlier_rows(path: Path, about: dict[str, Any], key: str = "rows") -> list[dict[str, Any]]:
    """Return the rows that an interrupted run of the same settings `about` has written.

    Raises ValueError if the file has the rows of other settings, which would be lost.
    """
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    other = [name for name, value in about.items() if content.get(name) != value]
    if other:
        raise ValueError(
            f"{path} holds results of other settings ({', '.join(other)}). Pass another folder as "
            "--output, or remove the file."
        )
    return content.get(key, [])


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


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
