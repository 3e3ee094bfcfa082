"""The root of the repository: what its files say of versions, packages and commands agrees."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import sklearn_robust

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def _yaml(path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    return yaml.safe_load((ROOT / path).read_text())


def _workflows():
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _bounds(requirements):
    """Return the oldest version of each requirement by its name."""
    pairs = (re.fullmatch(r"([\w.-]+) ?[>=]=([\w.]+)", text).groups() for text in requirements)
    return dict(pairs)


def test_the_version_is_the_same_everywhere():
    version = sklearn_robust.__version__
    assert _yaml("CITATION.cff")["version"] == version
    assert f"version = {{{version}}}" in (ROOT / "docs" / "citing.md").read_text()
    first = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$",
                      (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)  # fmt: skip
    assert first.group(1) == version


def test_the_environment_file_asks_for_what_the_package_asks_for():
    *packages, pip, extra = _yaml("environment.yml")["dependencies"]
    wanted = {CONDA_NAMES.get(k, k): v for k, v in _bounds(PROJECT["dependencies"]).items()}
    wanted["python"] = PROJECT["requires-python"].removeprefix(">=")
    assert _bounds(packages) == wanted
    assert (pip, extra) == ("pip", {"pip": ["-e ."]})


def test_the_oldest_versions_in_the_tests_are_those_declared():
    lines = (ROOT / "tests" / "minimum-requirements.txt").read_text().splitlines()
    tested = _bounds(line for line in lines if not line.startswith("#"))
    for name, oldest in _bounds(PROJECT["dependencies"]).items():
        if name != "torch":  # which the workflow names
            assert tested[name].startswith(oldest), name
    torch = _bounds(PROJECT["dependencies"])["torch"]
    assert f'"torch=={torch}.*"' in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_every_declared_python_is_tested():
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    jobs = _yaml(".github/workflows/tests.yml")["jobs"]
    assert jobs["pythons"]["strategy"]["matrix"]["python"] == declared


@pytest.mark.parametrize("workflow", _workflows(), ids=lambda path: path.stem)
def test_workflows_run_scripts_that_exist(workflow):
    steps = [s for job in _yaml(workflow)["jobs"].values() for s in job["steps"] if "run" in s]
    assert steps
    for step in steps:
        for script in re.findall(r"bash (\S+)", step["run"]):
            assert (ROOT / script).is_file(), script


def test_workflows_run_what_continuous_integration_runs():
    runs = "\n".join(path.read_text() for path in _workflows())
    for command in ("bash .ci/run", "bash tests/run.sh", "bash docs/build.sh", "bash .ci/release"):
        assert command in runs


def test_a_release_without_its_heading_stops_before_anything_is_done(tmp_path):
    (tmp_path / ".ci").mkdir()
    (tmp_path / "sklearn_robust").mkdir()
    script = (ROOT / ".ci" / "release").read_text()
    (tmp_path / ".ci" / "release").write_text(script)
    (tmp_path / "sklearn_robust" / "_version.py").write_text('__version__ = "9.9.9"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 9.9.9 (unreleased)\n")
    done = subprocess.run(
        ["bash", tmp_path / ".ci" / "release"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("CHANGELOG.md has no heading '## 9.9.9 (YYYY-MM-DD)'.")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".ci", "CHANGELOG.md", "sklearn_robust"]


def test_the_top_level_holds_the_library_and_the_usual_files():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("no git repository")
    top = {line.partition("/")[0] for line in tracked.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= {
        *("sklearn_robust", "benchmarks", "tests", "docs", "pyproject.toml", "environment.yml"),
        *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"),
        *("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"),
    }
