"""What an interrupted run has left: trained models and measured rows are taken up, not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import joblib

from benchmarks._results import provenance, write_json

Row = dict[str, Any]


def checkpointed(path: Path, make: Callable[[], Any], *, fresh: bool = False) -> Any:
    """Return what an earlier run has written to `path`; without that, or if `fresh`, make it."""
    if path.is_file() and not fresh:
        print(f"taken from {path}", flush=True)
        return joblib.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = make()
    partial = path.with_suffix(".partial")
    joblib.dump(made, partial)
    partial.replace(path)
    return made


def earlier_rows(path: Path, about: Row, key: str = "rows") -> list[Row]:
    """Return the rows that an interrupted run of the same settings `about` has written.

    Raises ValueError if the file has the rows of other settings, which would be lost.
    """
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    there = {name: content.get(name) for name in about}
    other = [
        f"{name}={there[name]}, got {about[name]}" for name in about if there[name] != about[name]
    ]
    if other:
        raise ValueError(
            f"{path} holds results of other settings: {'; '.join(other)}. Pass the same settings, "
            "another folder as --output, or remove the file."
        )
    return content.get(key, [])


class ResultFile:
    """A result file of rows that is written after each, so that no row is measured twice.

    Parameters
    ----------
    path : Path
    about : dict
        Settings, to stand in the file: with other ones its rows are not taken up but refused.
    fresh : bool, default=False
        Ignore what is there.
    **where
        Further facts for `provenance`, which may differ between runs.

    Raises
    ------
    ValueError
        If the file has rows of other settings.
    """

    def __init__(self, path: Path, about: Row, *, fresh: bool = False, **where: Any) -> None:
        self.path, self.about, self.where = path, about, where
        self.rows = [] if fresh else earlier_rows(path, about)

    def missing(self, plan: Iterable[Row]) -> Iterator[Row]:
        """Yield those of the planned rows, given by the fields that name them, not measured yet."""
        for wanted in plan:
            if not any(wanted.items() <= row.items() for row in self.rows):
                yield wanted

    def add(self, row: Row, **lists: list[Row]) -> None:
        """Take up a row and write the file, with further `lists`."""
        self.rows.append(row)
        self.write(**lists)

    def write(self, **lists: list[Row]) -> None:
        """Write the rows and, before them, further `lists`."""
        content = {**provenance(**self.where), **self.about, **lists, "rows": self.rows}
        write_json(self.path, content)
