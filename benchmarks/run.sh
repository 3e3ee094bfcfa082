#!/usr/bin/env bash
# Make .venv, install the project with what its benchmarks need, and run the main job, which writes
# into benchmarks/output; arguments are those of another benchmark, which writes where they say.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
if (($# == 0)); then
  set -- quick --output benchmarks/output
fi
exec .venv/bin/python -m benchmarks "$@"
