"""What a report of a bug should say about the environment; no paths, no names of user or host."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sklearn_robust._version import __version__

_REQUIRED = ("scikit-learn", "numpy", "scipy", "skorch", "torch", "matplotlib", "joblib")
_OPTIONAL = ("pandas", "dask", "distributed", "ray", "skops", "foolbox")


def show_versions() -> None:
    """Print the versions, devices and threads that a report of a bug needs.

    The same as ``python -m sklearn_robust``. Nothing in it tells your files, user or host.

    Examples
    --------
    >>> import sklearn_robust
    >>> sklearn_robust.show_versions()
    sklearn_robust: ...
    <BLANKLINE>
    System
    ...
    """
    print(f"sklearn_robust: {__version__}")
    for title, entries in _sections():
        print(f"\n{title}")
        for name, value in entries:
            print(f"    {name}: {value}")


def _sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    yield (
        "System",
        [
            ("python", f"{platform.python_implementation()} {platform.python_version()}"),
            ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
            ("processors", str(os.cpu_count())),
        ],
    )
    yield "Dependencies", [(name, _installed(name)) for name in _REQUIRED]
    yield "Optional", [(name, _installed(name)) for name in _OPTIONAL]
    yield "Devices", list(_devices())
    yield "Threads", list(_threads())


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _torch() -> Any:
    """Return torch, None where it is not installed: trees and linear models do without."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None


def _devices() -> Iterator[tuple[str, str]]:
    torch = _torch()
    if torch is None:
        yield "cpu", platform.processor() or platform.machine()
        return
    yield "cpu", torch.backends.cpu.get_cpu_capability()
    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}", torch.cuda.get_device_name(index)
    yield "CUDA of torch", str(torch.version.cuda)


def _threads() -> Iterator[tuple[str, str]]:
    import sklearn.linear_model  # noqa: F401  loads the libraries whose threads are counted
    from threadpoolctl import threadpool_info

    if (torch := _torch()) is not None:
        yield "torch", str(torch.get_num_threads())
    for pool in threadpool_info():
        name = f"{pool['internal_api']} {pool['version'] or ''}".strip()
        yield name, str(pool["num_threads"])
