"""Run a command with what Rust needs in order to embed this interpreter.

    python tools/embedded.py cargo test

``cargo test`` links the tests against libpython: at build time PyO3 has to know
which Python, at run time the loader has to find the library and the interpreter
its standard library, and the packages of this virtual environment.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

NEEDS_LIBRARY = """\
{executable} has no libpython to link tests against (looked for {wanted}).
On Debian and Ubuntu: apt-get install libpython3-dev. With pyenv: build the
interpreter with PYTHON_CONFIGURE_OPTS=--enable-shared. Everything but the
embedding tests works without it."""


def library() -> Path | None:
    """The folder of the libpython that the linker will find, if there is one."""
    names = [sysconfig.get_config_var(name) for name in ("LDLIBRARY", "INSTSONAME", "LIBRARY")]
    folders = [sysconfig.get_config_var(name) for name in ("LIBDIR", "LIBPL")]
    for folder in filter(None, folders):
        if any((Path(folder) / name).exists() for name in filter(None, names)):
            return Path(folder)
    return None


def environment(folder: Path) -> dict[str, str]:
    search = "DYLD_LIBRARY_PATH" if platform.system() == "Darwin" else "LD_LIBRARY_PATH"
    found = dict(os.environ)
    found["PYO3_PYTHON"] = sys.executable
    found[search] = os.pathsep.join(filter(None, [str(folder), found.get(search)]))
    # The embedded interpreter would look for its home beside whatever python3 is first on PATH.
    homes = (sys.base_prefix, sys.base_exec_prefix)
    found["PYTHONHOME"] = os.pathsep.join(dict.fromkeys(homes))
    paths = [sysconfig.get_paths()["platlib"], sysconfig.get_paths()["purelib"], found.get("PYTHONPATH")]
    found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        # A static libpython: extension modules look its symbols up in the test itself.
        flags = [found.get("RUSTFLAGS", ""), f"-L native={folder}", "-C link-args=-rdynamic"]
        flags += [f"-C link-args={flag}" for flag in (sysconfig.get_config_var("LIBS") or "").split()]
        found["RUSTFLAGS"] = " ".join(filter(None, flags))
    return found


def main() -> int:
    folder = library()
    if folder is not None:
        os.execvpe(sys.argv[1], sys.argv[1:], environment(folder))
    wanted = sysconfig.get_config_var("LDLIBRARY")
    print(NEEDS_LIBRARY.format(executable=sys.executable, wanted=wanted), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
