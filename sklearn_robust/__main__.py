"""``python -m sklearn_robust``: the environment report, or with ``--version`` one line of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sklearn_robust._show_versions import show_versions
from sklearn_robust._version import __version__


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_robust",
        description="Print versions, devices and threads, to paste into a report of a bug.",
    )
    parser.add_argument("--version", action="version", version=f"sklearn_robust {__version__}")
    parser.parse_args(arguments)
    show_versions()


if __name__ == "__main__":
    main()
