#!/usr/bin/env bash
# Make .venv, install the project with what its documentation needs, and build the pages into
# docs/_build/html; every warning is an error. Arguments go to sphinx-build.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r docs/requirements.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
exec .venv/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html "$@"
