"""A robustness report as a small table of HTML: no scripts, no styles but its own, all escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn_robust.metrics._report import RadiusResult, RobustnessReport

_HEADER = ("epsilon", "clean", "attacked", "certified", "gap", "broken by")


def report_html(report: RobustnessReport) -> str:
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


def _cells(radius: RadiusResult) -> list[str]:
    shares = (radius.clean, radius.attacked, radius.certified, radius.gap)
    broken = ", ".join(f"{name} {n}" for name, n in radius.broken_by.items() if n)
    # A dash, as in the text: nothing could be certified.
    return [
        f"{radius.epsilon:.4g}",
        *("-" if math.isnan(share) else f"{share:.4f}" for share in shares),
        broken,
    ]


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
