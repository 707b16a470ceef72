"""How much memory and disk there is, and how options ask for some of it."""

from __future__ import annotations

import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from mars import _limits
from mars._limits import (
    available_memory,
    format_bytes,
    in_memory_filesystem,
    memory_limit,
    spill_directory,
    spill_limit,
)

GB = 10**9
MIB = 2**20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine of 16 GB without any limit, and where its limits are to be written."""
    own, groups = tmp_path / "own", tmp_path / "groups"
    monkeypatch.setattr(_limits, "_OWN_GROUPS", own)
    monkeypatch.setattr(_limits, "_GROUPS", groups)
    monkeypatch.setattr(_limits, "_physical_memory", lambda: 16 * GB)
    monkeypatch.setattr(_limits, "_process_limits", lambda: iter(()))

    def limit(path: str, text: str) -> None:
        (groups / path).parent.mkdir(parents=True, exist_ok=True)
        (groups / path).write_text(text)

    return SimpleNamespace(own=own, limit=limit)


# --- available_memory ---


def test_this_machine_has_memory():
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 64 * MIB < available_memory() <= physical


def test_without_limits_all_of_the_machine_is_available(machine: SimpleNamespace):
    assert available_memory() == 16 * GB


@pytest.mark.parametrize("group", ["a/b/c", "a/b", "a", "."])
def test_a_limit_of_the_own_group_or_one_above_holds(machine: SimpleNamespace, group: str):
    machine.own.write_text("0::/a/b/c\n")
    for each in ("a/b/c", "a/b", "a"):
        machine.limit(f"{each}/memory.max", "max\n")
    machine.limit(f"{group}/memory.max", f"{2 * GB}\n")
    assert available_memory() == 2 * GB


def test_the_least_limit_holds(machine: SimpleNamespace):
    machine.own.write_text("0::/a/b\n")
    machine.limit("a/memory.max", f"{GB}\n")
    machine.limit("a/b/memory.max", f"{4 * GB}\n")
    assert available_memory() == GB


def test_a_group_beside_limits_nothing(machine: SimpleNamespace):
    machine.own.write_text("0::/a\n")
    machine.limit("b/memory.max", f"{GB}\n")
    assert available_memory() == 16 * GB


def test_a_limit_above_the_machine_is_none(machine: SimpleNamespace):
    machine.own.write_text("5:cpu,memory:/job\n")
    machine.limit("memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    assert available_memory() == 16 * GB


def test_groups_of_version_1(machine: SimpleNamespace):
    machine.own.write_text("7:pids:/other\n5:cpu,memory:/slurm/job\n1:name=systemd:/\n0::/\n")
    machine.limit("memory/slurm/job/memory.limit_in_bytes", "9223372036854771712\n")
    machine.limit("memory/slurm/memory.limit_in_bytes", f"{3 * GB}\n")
    assert available_memory() == 3 * GB


def test_both_versions_at_once(machine: SimpleNamespace):
    machine.own.write_text("5:memory:/\n0::/user\n")
    machine.limit("memory/memory.limit_in_bytes", f"{3 * GB}\n")
    machine.limit("unified/user/memory.max", f"{2 * GB}\n")
    assert available_memory() == 2 * GB


@pytest.mark.parametrize("path", ["/docker/0123", "/../..", "/"])
def test_a_container_sees_its_own_group_as_the_root(machine: SimpleNamespace, path: str):
    machine.own.write_text(f"0::{path}\n")
    machine.limit("memory.max", f"{GB}\n")
    assert available_memory() == GB


@pytest.mark.parametrize("text", ["", "nonsense", "0::", ":::", "5:memory", "\0\xff"])
def test_what_cannot_be_read_limits_nothing(machine: SimpleNamespace, text: str):
    machine.own.write_text(text)
    machine.limit("memory.max", "soon\n")
    machine.limit("memory/memory.limit_in_bytes", "")
    assert available_memory() == 16 * GB


def test_the_limits_of_the_process_hold(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    resource = pytest.importorskip("resource")
    monkeypatch.undo()
    limits = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 300 * MIB}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], resource.RLIM_INFINITY))
    assert available_memory() == 300 * MIB
    limits[resource.RLIMIT_AS] = 200 * MIB
    assert available_memory() == 200 * MIB


# --- memory_limit ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4 * GB, 4 * GB),
        (MIB, MIB),
        (16 * GB, 16 * GB),
        (4e9, 4 * GB),
        (float(MIB), MIB),
        (2_000_000.5, 2_000_000),
        ("4GB", 4 * GB),
        ("4gb", 4 * GB),
        (" 4 GB ", 4 * GB),
        ("4G", 4 * GB),
        ("1.5GB", 1_500_000_000),
        ("512 MiB", 512 * MIB),
        ("512mi", 512 * MIB),
        ("1GiB", 2**30),
        ("5000kB", 5_000_000),
        ("1e4 KiB", 10_240_000),
        ("0.001 TB", GB),
        ("1e9", GB),
        ("2000000", 2_000_000),
        ("2000000 B", 2_000_000),
        ("+4GB", 4 * GB),
        ("60%", 9_600_000_000),
        ("0.6", 9_600_000_000),
        (".5", 8 * GB),
        ("100 %", 16 * GB),
        ("1.0", 16 * GB),
        (0.25, 4 * GB),
        (1.0, 16 * GB),
        (Fraction(1, 2), 8 * GB),
    ],
)
def test_ways_to_say_how_much(machine: SimpleNamespace, value: object, expected: int):
    limit = memory_limit("memory_limit", value)
    assert type(limit) is int
    assert limit == expected


def test_units_are_those_of_dask(machine: SimpleNamespace):
    utils = pytest.importorskip("dask.utils")
    assert set(_limits._UNITS) == set(utils.byte_sizes)
    for unit, size in utils.byte_sizes.items():
        assert _limits._UNITS[unit] == size


def test_numbers_of_numpy(machine: SimpleNamespace):
    np = pytest.importorskip("numpy")
    for value, expected in [
        (np.int64(GB), GB),
        (np.uint8(0) + np.uint64(MIB), MIB),
        (np.float64(0.5), 8 * GB),
        (np.float32(0.5), 8 * GB),
    ]:
        limit = memory_limit("memory_limit", value)
        assert type(limit) is int
        assert limit == expected


@pytest.mark.parametrize("value", [None, True, False, b"4GB", [4], 4j, {}, object()])
@pytest.mark.parametrize("parse", [memory_limit, spill_limit])
def test_other_types_are_refused(parse, value: object):
    if parse is spill_limit and value is None:
        return
    with pytest.raises(TypeError) as caught:
        parse("the_option", value)
    assert "the_option" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        "-4GB",
        float("nan"),
        float("inf"),
        -float("inf"),
        "nan",
        "inf",
        "",
        "GB",
        "lots",
        "4 XB",
        "4GB5",
        "1..5",
        "4 0 GB",
        "%",
        "-10%",
        "1e999",
        "1e999 GB",
        "9" * 2000,
        10**400,
        -(10**400),
        "٣GB",
        1.5,
        100.25,
        "2.5",
    ],
    ids=lambda value: repr(value)[:10],
)
@pytest.mark.parametrize("parse", [memory_limit, spill_limit])
def test_what_is_no_size_is_refused(machine: SimpleNamespace, parse, value: object):
    with pytest.raises(ValueError) as caught:
        parse("the_option", value)
    assert "the_option" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0, 0.0, "0", "0%", "0 GB", 1, "1", 1000, MIB - 1, "1 kB", "1000kB", 1e-9, "0.001%"])
def test_too_little_is_refused(machine: SimpleNamespace, value: object):
    with pytest.raises(ValueError) as caught:
        memory_limit("the_option", value)
    message = str(caught.value)
    assert message.startswith("the_option")
    assert "1 MiB" in message
    assert repr(value) in message


@pytest.mark.parametrize("value", [17 * GB, "17GB", 17e9])
def test_more_than_there_is_is_refused_with_both_numbers(machine: SimpleNamespace, value: object):
    with pytest.raises(ValueError) as caught:
        memory_limit("the_option", value)
    message = str(caught.value)
    assert "the_option" in message
    assert "17.00 GB" in message
    assert "16.00 GB" in message


def test_more_than_all_is_refused(machine: SimpleNamespace):
    with pytest.raises(ValueError, match=r"the_option .* '101%'"):
        memory_limit("the_option", "101%")


# --- spill_limit ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0, 0),
        ("0", 0),
        (0.0, 0),
        (1, 1),
        (5000, 5000),
        ("100 TB", 100 * 10**12),
        (1e15, 10**15),
        (2**80, 2**63 - 1),
    ],
)
def test_disk_is_not_bounded_by_what_there_is(value: object, expected: int | None):
    assert spill_limit("spill_limit", value) == expected


@pytest.mark.parametrize("value", [0.5, 1.0, "50%", "0.5", "1.0", "200%"])
def test_a_share_of_the_disk_is_refused(value: object):
    with pytest.raises(ValueError, match=r"the_option .*share"):
        spill_limit("the_option", value)


# --- spill_directory ---


def test_the_default_is_the_temporary_directory():
    assert spill_directory("spill_directory", None) == os.path.abspath(tempfile.gettempdir())


def test_dask_says_where_temporary_files_go(tmp_path: Path):
    dask = pytest.importorskip("dask")
    with dask.config.set({"temporary-directory": str(tmp_path / "dask")}):
        assert spill_directory("spill_directory", None) == str(tmp_path / "dask")
        assert spill_directory("spill_directory", tmp_path) == str(tmp_path)
    (tmp_path / "file").touch()
    with (
        dask.config.set({"temporary-directory": str(tmp_path / "file")}),
        pytest.raises(ValueError, match="temporary-directory"),
    ):
        spill_directory("spill_directory", None)


def test_without_dask_the_default_is_the_systems(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    assert spill_directory("spill_directory", None) == os.path.abspath(tempfile.gettempdir())


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_paths_of_any_type(tmp_path: Path, kind):
    assert spill_directory("spill_directory", kind(str(tmp_path))) == str(tmp_path)


def test_a_directory_is_made_with_its_parents_and_left_empty(tmp_path: Path):
    wanted = tmp_path / "a" / "b"
    assert spill_directory("spill_directory", wanted) == str(wanted)
    assert list(wanted.iterdir()) == []


def test_relative_and_home_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spill_directory("spill_directory", "here") == str(tmp_path / "here")
    assert spill_directory("spill_directory", "~/there") == str(tmp_path / "there")


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_is_no_directory(tmp_path: Path, below: str):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError) as caught:
        spill_directory("the_option", f"{tmp_path}/file{below}")
    assert "the_option" in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("value", ["", "a\0b", b"", "~no-such-user-at-all/x"])
def test_what_can_be_no_path_is_refused(value: object):
    with pytest.raises(ValueError, match="the_option"):
        spill_directory("the_option", value)


@pytest.mark.parametrize("value", [5, True, 1.5, ["x"], object()])
def test_what_is_no_path_is_refused(value: object):
    with pytest.raises(TypeError, match="the_option"):
        spill_directory("the_option", value)


def test_where_nothing_can_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", "somewhere")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(PermissionError) as caught:
        spill_directory("the_option", tmp_path)
    assert "the_option" in str(caught.value)
    assert "Permission denied" in str(caught.value)
    assert caught.value.filename == str(tmp_path)
    assert caught.value.errno == 13


@pytest.mark.skipif(sys.platform != "linux", reason="nothing can be made in /proc of Linux")
def test_where_no_directory_can_be_made_is_refused():
    with pytest.raises(OSError) as caught:
        spill_directory("the_option", "/proc/nowhere/at/all")
    assert "the_option" in str(caught.value)
    assert "/proc/nowhere/at/all" in str(caught.value)


# --- in_memory_filesystem ---


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mounts"
    monkeypatch.setattr(_limits, "_MOUNTS", path)
    return path


def test_the_innermost_mount_tells(mounts: Path):
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        "tmpfs /mnt/memory tmpfs rw 0 0\n"
        "/dev/sdb /mnt/memory/disk ext4 rw 0 0\n"
        "ramfs /mnt/with\\040blank ramfs rw 0 0\n"
        "broken\n"
    )
    assert in_memory_filesystem("/mnt/memory")
    assert in_memory_filesystem(Path("/mnt/memory/deep/down"))
    assert in_memory_filesystem("/mnt/with blank/x")
    assert not in_memory_filesystem("/mnt/memory/disk/x")
    assert not in_memory_filesystem("/mnt/memory2")
    assert not in_memory_filesystem("/")


def test_the_later_mount_hides_the_former(mounts: Path):
    mounts.write_text("/dev/sda / ext4 rw 0 0\ntmpfs /mnt tmpfs rw 0 0\n/dev/sdb /mnt xfs rw 0 0\n")
    assert not in_memory_filesystem("/mnt/x")


def test_a_link_into_memory_is_followed(mounts: Path, tmp_path: Path):
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\ntmpfs {os.path.realpath(tmp_path)}/memory tmpfs rw 0 0\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "memory")
    assert in_memory_filesystem(tmp_path / "link")
    assert not in_memory_filesystem(tmp_path)


def test_a_system_that_does_not_tell(mounts: Path):
    assert not in_memory_filesystem("/dev/shm")


# --- format_bytes ---


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_999, "1.00 MB"),
        (1_234_567, "1.23 MB"),
        (4 * GB, "4.00 GB"),
        (2 * 10**12, "2.00 TB"),
        (5 * 10**18, "5000.00 PB"),
    ],
)
def test_sizes_to_read(size: int, text: str):
    assert format_bytes(size) == text
