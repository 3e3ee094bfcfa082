"""The environment report, and the package as it is built, installed and first used."""

import ast
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

import sklearn_robust
from sklearn_robust.__main__ import main

ROOT = Path(__file__).parents[1]


def test_the_report_names_versions_devices_and_threads(capsys):
    main([])
    report = capsys.readouterr().out
    assert report.startswith(f"sklearn_robust: {sklearn_robust.__version__}\n")
    for package in ("scikit-learn", "numpy", "scipy", "skorch", "torch", "matplotlib"):
        assert f"    {package}: {importlib.metadata.version(package)}\n" in report
    assert f"    torch: {torch.get_num_threads()}\n" in report
    assert report.count("cuda:") == torch.cuda.device_count()
    assert "    openblas" in report or "    mkl" in report
    sklearn_robust.show_versions()
    assert capsys.readouterr().out == report


@pytest.mark.parametrize(
    "package", [sklearn_robust, sklearn_robust.bounds], ids=["whole", "bounds"]
)
def test_type_checkers_see_the_names_that_are_loaded_on_first_use(package):
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(package)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.asname: line.module for line in block.body for alias in line.names}
    here = package.__name__
    if package is sklearn_robust:
        lazy = {name: f"{here}.{module}" for name, module in package._PUBLIC.items()}
        lazy |= dict.fromkeys(package._SUBPACKAGES, here)
    else:
        lazy = {name: f"{here}.{module}" for name, module in package._TORCH_BACKED.items()}
    assert seen == lazy


def test_the_report_says_nothing_about_files_user_or_host(capsys):
    main([])
    report = capsys.readouterr().out
    for secret in (str(Path.home()), sys.prefix, sysconfig.get_path("purelib"), str(ROOT)):
        assert secret not in report
    assert "/" not in report


def test_a_missing_package_is_said(capsys, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("sklearn_robust._show_versions.version", version)
    main([])
    assert "    pandas: not installed\n" in capsys.readouterr().out


def test_version_is_one_line():
    command = [sys.executable, "-m", "sklearn_robust", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"sklearn_robust {sklearn_robust.__version__}\n"


# The package -----------------------------------------------------------------------------------

BUILD = """
from setuptools import build_meta
print(getattr(build_meta, "build_{kind}")({out!r}))
"""

SMOKE = """
import importlib.util, pickle, sys, warnings
warnings.simplefilter("error")
for extra in ("pandas", "dask", "mlxtend", "pytest", "foolbox"):
    assert importlib.util.find_spec(extra) is None, extra
import sklearn_robust
assert sklearn_robust.__file__.startswith(sys.prefix), sklearn_robust.__file__
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_robust import *
X, y = load_digits(return_X_y=True)
X, y = X[:300], y[:300]
pipe = make_pipeline(StandardScaler(), AdversarialLogisticRegression(epsilon=0.05)).fit(X, y)
net = RobustFCClassifier((16,), epsilon=0.5, clip_values=(0, 16), max_epochs=30, lr=0.01,
                         random_state=0).fit(X, y)
for clf in (pipe, net):
    clf = pickle.loads(pickle.dumps(clf))
    assert 0.5 < robust_score(clf, X, y, epsilon=0.5) <= clf.score(X, y)
show_versions()
"""


def run(*command, cwd):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind, source, out):
    """Build a "wheel" or an "sdist" as pip does, without asking an index for setuptools."""
    text = run(sys.executable, "-c", BUILD.format(kind=kind, out=str(out)), cwd=source)
    return out / text.splitlines()[-1]


def required(package):
    """Return the distributions that `package` asks for when no extra is named, and theirs."""
    found, waiting = {}, [package]
    while waiting:
        for text in importlib.metadata.requires(waiting.pop()) or []:
            name, _, marker = text.partition(";")
            name = re.match(r"[\w.-]+", name).group()
            if "extra ==" in marker or name in found:
                continue
            try:
                found[name] = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system, or pip's own check will tell below
            waiting.append(name)
    return found.values()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the sdist, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    keep = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sklearn_robust", tree / "sklearn_robust", ignore=keep)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    sdist = build("sdist", tree, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    return sdist, build("wheel", source, folder)


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    _, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "sklearn_robust").rglob("*.py")}
    info = f"sklearn_robust-{sklearn_robust.__version__}.dist-info"
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name for name in names if not name.endswith(".py")} == {
        "sklearn_robust/py.typed",
        *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "top_level.txt")),
        f"{info}/licenses/LICENSE",
    }


@pytest.mark.slow
def test_the_wheel_works_with_what_it_requires_and_no_extra(built, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
                    cwd=tmp_path).strip())  # fmt: skip
    # What is installed already serves, linked; an index would have to be asked otherwise.
    for distribution in required("sklearn-robust"):
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            link, target = site / top, Path(str(distribution.locate_file(top)))
            if not link.exists():
                link.symlink_to(target.resolve(), target_is_directory=target.is_dir())
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", built[1], cwd=tmp_path)
    # Only what is said of this package: what a bare environment brings along may not suit others.
    check = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
    assert check.stdout and not re.search(r"^sklearn.robust ", check.stdout, re.MULTILINE)
    report = run(python, "-c", SMOKE, cwd=tmp_path)
    assert f"sklearn_robust: {sklearn_robust.__version__}" in report
    assert "pandas: not installed" in report
