"""Takes the pictures of the documentation, in a real browser: a notebook in JupyterLab, and the timeline of a profile.

    python tools/pictures.py [--into docs/pictures] [--theme light|dark] [notebook]

Runs all cells of the notebook (default: examples/diagnostics.ipynb) once for each theme and takes a
picture of the whole. Needs Chromium, and in the environment of the kernel:

    python -m pip install jupyterlab ipywidgets playwright bokeh 'dask[array]' pandas pyarrow
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, TimeoutError, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def settings(folder: Path, theme: str) -> Path:
    """Settings of JupyterLab with this theme, and without what would cover the notebook."""
    wanted = {
        "apputils-extension/themes": {"theme": THEMES[theme]},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in wanted.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder


@contextlib.contextmanager
def jupyterlab(folder: Path, theme: str) -> Iterator[str]:
    """A server that shows `folder`; its address, with the token."""
    token = secrets.token_hex(8)
    home = folder / ".jupyter-home"
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {
        **os.environ,
        **places,
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings(home / "settings", theme)),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                yield f"{found.group()}/lab/tree/{{}}?token={token}"
                return
        raise RuntimeError("JupyterLab did not start")
    finally:
        server.terminate()
        server.communicate(timeout=30)


def without_outputs(notebook: Path, folder: Path) -> None:
    """A copy that nobody has run."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    (folder / notebook.name).write_text(json.dumps(content), encoding="utf-8")


def run_all(page: Page, address: str) -> None:
    """Open the notebook, run all cells, and wait until the last one has run."""
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    with contextlib.suppress(TimeoutError):
        page.get_by_role("button", name="Select Kernel").click(timeout=3_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
                 .every(prompt => /\\[\\d+\\]/.test(prompt.textContent))""",
        timeout=120_000,
    )
    page.wait_for_timeout(1_500)  # what comes after the last message is drawn


def height(page: Page) -> int:
    return int(page.evaluate("Math.max(...[...document.querySelectorAll('.jp-Notebook .jp-Cell')].map("
                             "c => c.offsetTop + c.offsetHeight))"))  # fmt: skip


def browser(playwright: Playwright) -> Browser:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=chromium, headless=False, args=QUIET)


def timeline(into: Path) -> Path:
    """What `mars.Profile.plot` draws of a computation, with all that its page needs."""
    import dask.array as da
    from bokeh.plotting import save
    from bokeh.resources import INLINE

    import mars
    from mars.contrib.dask import mars_scheduler

    x = da.random.default_rng(0).random((4_000, 4_000), chunks=(500, 500))
    with mars.profile() as profile:
        ((x + x.T) - x.mean(axis=0)).std().compute(scheduler=mars_scheduler, num_workers=2)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        html = Path(name) / "profile.html"
        save(profile.plot(show=False), str(html), resources=INLINE, title="Profile")
        chromium = browser(playwright)
        page = chromium.new_page(viewport={"width": 1030, "height": 260})
        page.goto(html.as_uri())
        page.wait_for_timeout(3_000)  # drawn
        path = into / "timeline.png"
        page.screenshot(path=path)
        chromium.close()
    return path


def picture(notebook: Path, theme: str, into: Path) -> Path:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        without_outputs(notebook, folder)
        with jupyterlab(folder, theme) as address, sync_playwright() as playwright:
            chromium = browser(playwright)
            page = chromium.new_page(viewport={"width": 1200, "height": 3_000})
            run_all(page, address.format(notebook.name))
            page.keyboard.press("Control+b")  # the side bar
            page.set_viewport_size({"width": 1000, "height": min(height(page) + 420, 12_000)})
            page.wait_for_timeout(1_000)
            path = into / f"{notebook.stem}-{theme}.png"
            page.screenshot(path=path)
            chromium.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="?", type=Path, default=ROOT / "examples" / "diagnostics.ipynb")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--theme", choices=sorted(THEMES), action="append")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    print(timeline(options.into))
    for theme in options.theme or THEMES:
        print(picture(options.notebook, theme, options.into))


if __name__ == "__main__":
    main()
