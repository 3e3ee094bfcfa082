#!/usr/bin/env bash
# Make .venv, install the project with what its benchmarks need, and run the main job.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
exec .venv/bin/python -m benchmarks "${@:-quick}"
