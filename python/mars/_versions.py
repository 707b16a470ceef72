"""What a report of a fault should tell of the machine, the interpreter and the packages."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from mars import _config, _limits, _mars, session

__all__ = ["show_versions"]

#: As they are called where they are installed from.
_PACKAGES = (
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "xarray",
    "zarr",
    "scipy",
    "scikit-learn",
    "bokeh",
    "tqdm",
    "ipywidgets",
    "jupyterlab",
    "ray",
    "cloudpickle",
    "loky",
)

#: What is told, and where it comes from.
Lines = Iterator[tuple[str, str]]


def show_versions(file: TextIO | None = None) -> None:
    """Print what a report of a fault should tell: versions, machine, settings and session.

    None of the packages is imported for that, but Dask for its settings. Of the settings and the
    environment only ``mars.*`` is told, home directories are shortened to ``~``, and the name of the
    user is left out.

    Parameters
    ----------
    file : file object, optional
        Where to. Default: standard output.

    Examples
    --------
    >>> import io, mars
    >>> text = io.StringIO()
    >>> mars.show_versions(text)
    >>> text.getvalue().startswith("dask-on-mars")
    True
    """
    parts: list[str] = []
    for title, part in _PARTS.items():
        lines = list(_safely(part))
        width = max((len(name) for name, _ in lines), default=0)
        if title:
            parts.append(f"\n{title}")
        parts += [f"{name:<{width}}  {value}" for name, value in lines] or ["none"]
    print(_without_names("\n".join(parts)), file=file)


def _safely(part: Callable[[], Lines]) -> Lines:
    """What a part tells; a broken installation, or a setting that makes no sense, is told as well."""
    try:
        yield from part()
    except Exception as error:
        yield "cannot be told", f"{type(error).__name__}: {error}"


def _system() -> Lines:
    build = _mars.build_info()
    yield "dask-on-mars", f"{_mars.__version__}, {build['profile']} build by {build['rust']} for {build['target']}"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}, {_gil()}"
    yield "built", f"{' '.join(platform.python_build())}, {platform.python_compiler()}"
    yield "runs", f"{_surroundings()}, multiprocessing: {_start_method()}"
    yield "system", f"{platform.platform()}, {platform.machine()}"
    there, usable = _limits._physical_memory(), _limits.available_memory()
    limited = f", this process may use {_limits.format_bytes(usable)}" if usable < there else ""
    yield "memory", _limits.format_bytes(there) + limited
    yield "processors", f"{_config.cpu_count()} of {os.cpu_count()}"


def _gil() -> str:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "with a GIL"
    is_on: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"free-threaded, GIL {'on' if is_on else 'off'}"


def _surroundings() -> str:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None:
        return "in a notebook" if type(shell).__name__ == "ZMQInteractiveShell" else "in IPython"
    return "interactively" if hasattr(sys, "ps1") or sys.flags.interactive else "as a script"


def _start_method() -> str:
    import multiprocessing

    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def _packages() -> Lines:
    import importlib.metadata  # takes longer than all of ours

    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name) or "unknown"
        except importlib.metadata.PackageNotFoundError:
            yield name, "not installed"
        except Exception:  # its metadata are damaged
            yield name, "unknown"


def _settings() -> Lines:
    try:
        from dask import config
    except ImportError:
        for variable in sorted(os.environ):
            if variable.startswith("DASK_MARS__"):
                name = variable.removeprefix("DASK_MARS__").lower().replace("_", "-")
                yield f"mars.{name}", f"{_config.setting(name)!r} (environment)"
        return
    for name, value in _flat(config.get("mars", {})):
        from_environment = _config._from_environment(name)
        origin = "environment" if from_environment is not None and from_environment == value else "dask.config"
        yield f"mars.{name}", f"{value!r} ({origin})"


def _flat(settings: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        path = f"{above}{str(name).replace('_', '-')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _session() -> Lines:
    current = session.present_session()
    yield "session", "none" if current is None else repr(current)
    if current is not None and current.memory is not None:
        yield "memory", repr(current.memory)
    yield "worker threads", str(_mars.pool_size())


_PARTS: dict[str, Callable[[], Lines]] = {
    "": _system,
    "packages": _packages,
    "settings": _settings,
    "now": _session,
}


def _without_names(text: str) -> str:
    """The text with ``~`` for home directories, and without the name of the user."""
    import getpass

    homes = {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))}
    for home in sorted(homes - {"~", os.sep}, key=len, reverse=True):
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    with contextlib.suppress(Exception):  # not everybody who runs a process has a name
        user = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=[/\\]){user}(?![\w.-])", "<user>", text)
    return text
