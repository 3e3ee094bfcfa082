"""Command line of the benchmarks: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import benchmarks


def _names() -> dict[str, str]:
    """Return command name -> module name for every public module of this folder."""
    folder = str(Path(__file__).parent)
    modules = [m.name for m in pkgutil.iter_modules([folder]) if not m.ispkg]
    return {m.replace("_", "-"): m for m in modules if not m.startswith("_")}


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark: a module here with ``add_arguments(parser)`` and ``run(args)``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    names = _names()
    argv = sys.argv[1:] if argv is None else argv
    wanted = next((a for a in argv if a in names), None)
    for name, module_name in names.items():
        if wanted not in (None, name):
            continue  # importing only what runs keeps a benchmark's extra packages its own
        module = importlib.import_module(f"benchmarks.{module_name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        command.add_argument(
            "--output",
            type=Path,
            default=Path(__file__).parent / "results",
            help="folder for tables, figures and JSON (default: %(default)s)",
        )
        command.add_argument("--seed", type=int, default=0)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    # torch is there where a benchmark trains networks.
    if getattr(args, "threads", None) is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(args.threads)
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
