"""A robustness report as a small table of HTML: no scripts, no styles but its own, all escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import Any

_HEADER = (
    "epsilon",
    "clean",
    "attacked",
    "attacked is",
    "certified",
    "certified is",
    "gap",
    "broken by",
)


def report_html(report: Any) -> str:
    """Return the radii as a table, below it the diagnostics that fired."""
    clip = "not clipped" if report.clip_values is None else "clipped to the valid range"
    caption = (
        f"Robustness of {report.estimator} on {report.n_samples} samples ({report.norm}, {clip}); "
        f"attack: {report.attack}; certificate: {report.certificate}; seed {report.seed}"
    )
    fired = [finding for finding in report.findings if finding.fired]
    notes = [f"Diagnostics: {len(fired)} of {len(report.findings)} fired."] * bool(report.findings)
    notes += [f"{finding.check}: {finding.message}" for finding in fired]
    parts = [
        "<div><table>",
        f'<caption style="text-align: left">{escape(caption)}</caption>',
        f"<thead>{_row(_HEADER, 'th')}</thead>",
        f"<tbody>{''.join(_row(_cells(radius), 'td') for radius in report.radii)}</tbody>",
        "</table>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        "</div>",
    ]
    return "\n".join(parts)


def _cells(radius: Any) -> list[str]:
    broken = ", ".join(f"{name} {n}" for name, n in radius.broken_by.items() if n)
    return [
        f"{radius.epsilon:.4g}",
        _share(radius.clean),
        _share(radius.attacked),
        radius.attacked_is,
        _share(radius.certified),
        radius.certified_is,
        _share(radius.gap),
        broken,
    ]


def _share(share: float) -> str:
    """Return a share; a dash, as in the text, where nothing could be certified."""
    return "-" if math.isnan(share) else f"{share:.4f}"


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
