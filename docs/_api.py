"""The page of the API reference, made from what each sub-package exports."""

import importlib

TITLES = {
    "linear_model": "Linear classifiers",
    "neural_network": "Networks",
    "metrics": "Measuring robustness",
    "inspection": "Displays",
    "attacks": "Attacks",
    "bounds": "Certificates",
    "trees": "Tree ensembles",
    "datasets": "Data",
    "targets": "A classifier as its adversary meets it",
    "preprocessing": "Transformers as formulas",
}
INTRODUCTION = """API reference
=============

Every public name, by the sub-package that defines it. The names most used are in
``sklearn_robust`` itself as well: {names}.
"""


def page(package):
    """Return the page in reStructuredText."""
    names = ", ".join(f"`{name}`" for name in package.__all__ if not name.startswith("_"))
    parts = [INTRODUCTION.format(names=names)]
    for name, title in TITLES.items():
        module = importlib.import_module(f"{package.__name__}.{name}")
        summary = module.__doc__.partition("\n\n")[0]
        entries = "\n".join(f"   {public}" for public in sorted(module.__all__, key=str.lower))
        parts.append(
            f"{title}\n{'-' * len(title)}\n\n``{module.__name__}``: {summary}\n\n"
            f".. currentmodule:: {module.__name__}\n\n"
            f".. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{entries}\n"
        )
    own = [name for name, module in package._PUBLIC.items() if module.startswith("_")]
    entries = "\n".join(f"   {public}" for public in sorted(own))
    parts.append(
        f"The package\n-----------\n\n.. currentmodule:: {package.__name__}\n\n"
        f".. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{entries}\n"
    )
    return "\n".join(parts)


def write(path, package):
    """Write the page, if it has changed: Sphinx reads it anew then."""
    text = page(package)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
