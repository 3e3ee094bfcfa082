"""``python -m sklearn_robust``: the environment report; ``score``: that on a stored classifier."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sklearn_robust import _score_command
from sklearn_robust._show_versions import show_versions
from sklearn_robust._version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 1 for a limit that is missed, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_robust",
        description="Without a command: versions, devices and threads, to paste into a bug report.",
    )
    parser.add_argument("--version", action="version", version=f"sklearn_robust {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    score = commands.add_parser(
        "score",
        help="report on the robustness of a stored classifier",
        description="Hold a stored classifier against attacks and proofs on samples of a CSV file. "
        "Exit status 1 if a limit is missed, 2 if something is wrong.",
    )
    _score_command.add_arguments(score)
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        show_versions()
        return 0
    try:
        return _score_command.run(parsed)
    except (OSError, ImportError, TypeError, ValueError) as error:
        print(f"{parser.prog} score: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
