"""How much memory and disk a run may use: what is there, and what was asked for."""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["available_memory", "format_bytes", "in_memory_filesystem", "memory_limit", "spill_directory", "spill_limit"]

_LEAST = 2**20
_MOST = 2**63 - 1
_EXAMPLES = "a number of bytes, a string like '4GB' or '512 MiB', or a share of the memory like '60%' or 0.6"
_SPILL_EXAMPLES = "a number of bytes, a string like '100GB', 0 for nothing, or None for no limit"

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", 1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power}
    _UNITS |= {f"{_letter}i": 1024**_power, f"{_letter}ib": 1024**_power}
_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*|%)", re.IGNORECASE | re.ASCII)

#: Where Linux tells of control groups and mounts.
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_MOUNTS = Path("/proc/mounts")


def format_bytes(n: int) -> str:
    """A number of bytes for people to read.

    Examples
    --------
    >>> format_bytes(4_000_000_000)
    '4.00 GB'
    >>> format_bytes(17)
    '17 B'
    """
    size = float(n)
    if size < 1000:
        return f"{n} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.995:
            return f"{size:.2f} {unit}"
    return f"{size / 1000:.2f} PB"


def available_memory() -> int:
    """The bytes that this process may use.

    The least of the machine's memory, the limits of the control groups that the process is in, and the limits set
    for the process itself, as by ``ulimit -v``.
    """
    return min(limit for limit in (_MOST, _physical_memory(), *_group_limits(), *_process_limits()) if limit > 0)


def _physical_memory() -> int:
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                ("total", ctypes.c_ulonglong),
                ("rest", ctypes.c_ulonglong * 6),
            )

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return int(status.total)
        return _MOST
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return _sysctl_memory()


def _sysctl_memory() -> int:
    """What BSD and macOS tell."""
    import ctypes

    size = ctypes.c_uint64()
    length = ctypes.c_size_t(ctypes.sizeof(size))
    with contextlib.suppress(AttributeError, OSError):
        ask = ctypes.CDLL(None).sysctlbyname
        if ask(b"hw.memsize", ctypes.byref(size), ctypes.byref(length), None, 0) == 0:
            return size.value
    return _MOST


def _process_limits() -> Iterator[int]:
    try:
        import resource
    except ImportError:
        return
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            soft, _ = resource.getrlimit(getattr(resource, name))
            if soft != resource.RLIM_INFINITY:
                yield soft


def _group_limits() -> Iterator[int]:
    """The limits of the process's control groups and of all above them, of either version."""
    for line in _read(_OWN_GROUPS).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            # The second is where version 2 is mounted beside version 1.
            roots, name = [_GROUPS, _GROUPS / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            roots, name = [_GROUPS / "memory"], "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        # A container may see its own group as the root, and be told a path that is there only outside.
        groups = [PurePosixPath()] if ".." in group.parts else [group, *group.parents]
        for root in roots:
            for each in groups:
                limit = _read(root / each / name).strip()
                if limit.isdecimal():
                    yield int(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def memory_limit(name: str, value: Any, *, within: bool = True) -> int:
    """The bytes that an option about memory asks for.

    Parameters
    ----------
    name : str
        What an error calls the option.
    value : int, float or str
        Bytes, as a number or with a unit as Dask has them; or as a float of at most 1 or a percentage, a share of
        `available_memory`.
    within : bool, default True
        Whether it has to make sense for this process. A forecast may be for another one.

    Raises
    ------
    TypeError
        It is something else.
    ValueError
        It is no such number; or less than 1 MiB or more than there is, if it has to be within.

    Examples
    --------
    >>> memory_limit("memory_limit", "2 MiB")
    2097152
    >>> memory_limit("memory_limit", 1.0) == available_memory()
    True
    """
    number, share = _parse(name, value, _EXAMPLES)
    available = available_memory()
    if share and number > 1:
        raise ValueError(f"{name} has to be at most all of the memory, 100% or 1.0, not {value!r}")
    limit = int(number * available) if share else int(number)
    if not within:
        return limit
    if limit < _LEAST:
        raise ValueError(
            f"{name} has to be at least 1 MiB, and {value!r} is {format_bytes(limit)}; give {_EXAMPLES}",
        )
    if limit > available:
        raise ValueError(
            f"{name} is {value!r}, {format_bytes(limit)} ({limit:,} bytes), but this process may use no more than "
            f"{format_bytes(available)} ({available:,} bytes); give less, or a share of it like '60%'"
        )
    return limit


def spill_limit(name: str, value: Any) -> int | None:
    """The bytes on disk that an option asks for; None for no limit, 0 for nothing on disk.

    Parameters
    ----------
    name : str
        What an error calls the option.
    value : int, float, str or None
        As for `memory_limit`, but no share of anything.

    Examples
    --------
    >>> spill_limit("spill_limit", "100 GB")
    100000000000
    """
    if value is None:
        return None
    number, share = _parse(name, value, _SPILL_EXAMPLES)
    if share and number != 0:
        raise ValueError(f"{name} cannot be a share, as {value!r} is; give {_SPILL_EXAMPLES}")
    return min(int(number), _MOST)


def _parse(name: str, value: Any, examples: str) -> tuple[int | float, bool]:
    """A number that is not negative, and whether it is a share rather than bytes."""
    if isinstance(value, str):
        number, share = _parse_text(name, value, examples)
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} has to be {examples}, not {value!r} of type {type(value).__name__}")
    elif isinstance(value, numbers.Integral):
        number, share = _whole(operator.index(value)), False
    else:
        number, share = _float(value), _float(value) <= 1
    if not math.isfinite(number):
        raise ValueError(f"{name} has to be a finite number, not {value!r}; give {examples}")
    if number < 0:
        raise ValueError(f"{name} cannot be negative, as {value!r} is; give {examples}")
    if isinstance(number, float) and not share and number < _LEAST and not number.is_integer():
        raise ValueError(f"{name} is {value!r}, which is neither a share up to 1 nor whole bytes; give {examples}")
    return number, share


def _parse_text(name: str, value: str, examples: str) -> tuple[int | float, bool]:
    match = _NUMBER.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{name} is {value!r}, which is no size; give {examples}")
    digits, unit = match.groups()
    if unit == "%":
        return float(digits) / 100, True
    factor = _UNITS.get(unit.lower())
    if factor is None:
        raise ValueError(
            f"{name} is {value!r}, but {unit!r} is no unit; use kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB"
        )
    if re.fullmatch(r"[+-]?[\d_]+", digits):
        # Python refuses to read the longest.
        return (_whole(int(digits)) * factor if len(digits) < 1000 else math.inf), False
    number = float(digits)
    if not unit:
        return number, number <= 1
    return (float(int(number * factor)) if math.isfinite(number * factor) else math.inf), False


def _whole(number: int) -> int | float:
    """The number, unless it is too large to be compared with a float."""
    if abs(number) < 10**200:
        return number
    return math.inf if number > 0 else -math.inf


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def spill_directory(name: str, value: Any) -> str:
    """The directory that an option asks for, made if need be and found to be writable.

    Parameters
    ----------
    name : str
        What an error calls the option.
    value : str, bytes, os.PathLike or None
        None for Dask's setting ``temporary-directory``, else the system's directory for temporary files.

    Returns
    -------
    str
        Its absolute path.

    Raises
    ------
    TypeError
        It is no path.
    ValueError
        It is no directory, or no path that there can be.
    OSError
        It cannot be made or written to.
    """
    if value is None:
        name, value = _default_directory(name)
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name} has to be a path, not {value!r} of type {type(value).__name__}") from None
    if not path or "\0" in path:
        raise ValueError(f"{name} has to be the path of a directory, not {value!r}")
    path = os.path.expanduser(path)
    if path.startswith("~"):
        raise ValueError(f"{name} is {path!r}, but there is no such user")
    path = os.path.abspath(path)
    try:
        os.makedirs(path, exist_ok=True)
        # Permissions alone do not tell: the file system may be read-only or full.
        os.rmdir(tempfile.mkdtemp(prefix="mars-", dir=path))
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{name} has to be a directory, and {path!r} is none") from None
    except OSError as error:
        message = f"{name}: cannot write to the directory, {error.strerror or error}; give another one"
        raise type(error)(error.errno, message, path) from error
    return path


def _default_directory(name: str) -> tuple[str, Any]:
    try:
        from dask import config
    except ImportError:
        return name, tempfile.gettempdir()
    directory = config.get("temporary-directory", None)
    if directory is None:
        return name, tempfile.gettempdir()
    return "Dask's setting temporary-directory", directory


def in_memory_filesystem(path: str | os.PathLike[str]) -> bool:
    """Whether files there take memory rather than disk; False where the system does not tell.

    Examples
    --------
    >>> in_memory_filesystem("/proc")
    False
    """
    real = PurePosixPath(os.path.realpath(path))
    kind, depth = "", -1
    for line in _read(_MOUNTS).splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks in a path are written as octal numbers.
        mount = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        # Of two at the same place, the later hides the former.
        if real.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = fields[2], len(mount.parts)
    return kind in ("tmpfs", "ramfs")
