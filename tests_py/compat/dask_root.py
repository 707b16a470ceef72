"""Stand-in for the conftest.py at the root of dask's repository.

The wheel ships the tests but not that file.  Load it with ``-p dask_root``:
it registers the command line options the tests' markers rely on
(``--runslow``, ``--runarrayexpr``), turns on assertion rewriting for the
helper modules the tests assert through, and lets synchronous computes work
next to an asynchronous distributed Client.
"""

import pytest

pytest.register_assert_rewrite("dask.array.utils", "dask.dataframe.utils", "dask.bag.utils")


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="run slow tests too")
    parser.addoption(
        "--runarrayexpr",
        action="store_true",
        help="run only the tests meant for dask.array's expression backend",
    )


def pytest_runtest_setup(item):
    kw = item.keywords
    if "slow" in kw and not item.config.getoption("--runslow"):
        pytest.skip("slow test; --runslow runs it")
    want_expr = item.config.getoption("--runarrayexpr")
    if "array_expr" in kw:
        if not want_expr:
            pytest.skip("array-expr test; --runarrayexpr runs it")
    elif want_expr and "normal_and_array_expr" not in kw:
        pytest.skip("not meant for array-expr")


@pytest.fixture(autouse=True, scope="session")
def _allow_async_clients():
    import dask

    with dask.config.set({"admin.async-client-fallback": "sync"}):
        yield
