"""The architecture as a test: imports go one way, and torch is loaded by those who need it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_robust

PACKAGE = Path(sklearn_robust.__file__).parent
# A module may import from its own layer and from those before it.
LAYERS = (
    {
        "_version",
        "_arrays",
        "_levels",
        "_neighbourhood",
        "_norms",
        "_pieces",
        "_jobs",
        "_images",
        "_warnings",
        "_labels",
        "_linear_scores",
        "_notebook",
        "_fit_tasks",
    },
    {"_validation"},
    {"_tabular"},
    {"_threat"},
    {"datasets", "preprocessing"},
    {"attacks", "bounds", "trees"},
    {"targets", "_training_rows"},
    {"linear_model", "neural_network", "_adversarial_training"},
    {"metrics"},
    {"inspection"},
    {"_show_versions", "_score_command"},
    {"__main__"},
)
# Bounds judge samples by the models of attacks, and trees are one of the models that have bounds;
# otherwise layers stand side by side.
ALONGSIDE = {
    ("_levels", "_arrays"),
    ("_neighbourhood", "_arrays"),
    ("_neighbourhood", "_norms"),
    ("_norms", "_arrays"),
    ("_norms", "_levels"),
    ("bounds", "attacks"),
    ("trees", "bounds"),
}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _imports(path):
    """Yield the names below sklearn_robust that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "sklearn_robust":
                names = [f"sklearn_robust.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("sklearn_robust."):
                yield name.split(".")[1]


def _files():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    parts = path.relative_to(PACKAGE).parts
    own = parts[0].removesuffix(".py")
    assert own in RANK
    for name in _imports(path):
        assert RANK[name] <= RANK[own]
        if RANK[name] == RANK[own] and name != own:
            assert (own, name) in ALONGSIDE


# Certified objectives compute bounds of a network while it trains, which is no public interface.
PRIVATE = {
    "neural_network/objectives/_certified.py": {
        "bounds._batch_norm",
        "bounds._enclosure",
        "bounds._graph",
        "bounds._network",
        "bounds._regions",
    },
    "neural_network/objectives/_hybrid.py": {"bounds._regions"},
    "neural_network/objectives/_interval.py": {"bounds._enclosure", "bounds._regions"},
    "neural_network/objectives/_regularizer.py": {"bounds._enclosure"},
}


def test_packages_import_the_private_names_of_others_only_where_it_is_listed():
    found = {}
    for path in _files():
        own = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            root, *parts = (node.module or "").split(".")
            if root != "sklearn_robust":
                continue
            if len(parts) == 2 and parts[0] != own and not parts[0].startswith("_"):
                file = path.relative_to(PACKAGE).as_posix()
                found.setdefault(file, set()).add(".".join(parts))
    assert found == PRIVATE
    assert sum(map(len, PRIVATE.values())) <= 10


def test_no_two_files_import_each_other_not_even_for_types_or_in_a_function():
    modules = {}
    for path in _files():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    uses = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
                uses[name] |= inner or {node.module}
    while leaves := {name for name, used in uses.items() if not used & uses.keys() - {name}}:
        for name in leaves:
            del uses[name]
    assert not uses  # what remains goes round in circles


def _modules_after(code):
    program = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "subpackage",
    [
        "attacks",
        "bounds",
        "datasets",
        "preprocessing",
        "trees",
        "targets",
        "linear_model",
        "metrics",
        "inspection",
    ],
)
def test_only_networks_load_torch(subpackage):
    loaded = _modules_after(f"import sklearn_robust.{subpackage}")
    assert f"sklearn_robust.{subpackage}" in loaded
    assert "torch" not in loaded
    assert "matplotlib" not in loaded
    if subpackage != "inspection":
        assert "sklearn_robust.inspection" not in loaded


def test_the_package_costs_nothing_and_linear_models_what_scikit_learns_cost():
    bare = _modules_after("")
    package = _modules_after("import sklearn_robust")
    assert {name.partition(".")[0] for name in package - bare} <= {
        "sklearn_robust",
        *sys.stdlib_module_names,
    }
    theirs = _modules_after("import sklearn.linear_model")
    ours = _modules_after("import sklearn_robust.linear_model")
    beyond = {name.partition(".")[0] for name in ours - theirs}
    assert beyond <= {"sklearn_robust", *sys.stdlib_module_names}
    assert "sklearn_robust.attacks" not in ours


def test_every_public_name_exists():
    for name in sklearn_robust.__all__:
        assert getattr(sklearn_robust, name) is not None
        assert name in dir(sklearn_robust)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        sklearn_robust.nonsense  # noqa: B018
