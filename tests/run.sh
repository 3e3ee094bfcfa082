#!/usr/bin/env bash
# Make .venv, install the project with its test extra, and run all tests, slow ones too, on all cores;
# arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
export SCIPY_ARRAY_API=1  # scikit-learn's own estimator checks test array API input only with it
exec .venv/bin/python -m pytest -m "" -n auto --dist worksteal "$@"
