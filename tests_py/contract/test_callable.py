"""Section 7: the callable itself, and its name."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from pathlib import Path

import dask
import dask.base
import pytest
from dask.base import get_scheduler
from support import inc, run, run_well

import mars.contrib.dask
from mars.contrib.dask import mars_scheduler


def test_dask_takes_it_as_it_is():
    assert get_scheduler(scheduler=mars_scheduler) is mars_scheduler
    with dask.config.set(scheduler=mars_scheduler):
        assert get_scheduler() is mars_scheduler


@pytest.mark.parametrize("name", ["mars", "MARS"])
def test_dask_knows_it_by_name(name: str):
    assert get_scheduler(scheduler=name) is mars_scheduler
    assert dask.delayed(inc)(1).compute(scheduler=name) == 2
    with dask.config.set(scheduler=name):
        assert dask.delayed(inc)(1).compute() == 2


def test_it_may_be_the_scheduler_of_a_collection():
    class Mine(dask.delayed(inc)(1).__class__):
        __dask_scheduler__ = staticmethod(mars_scheduler)

    lazy = dask.delayed(inc)(1)
    mine = Mine(lazy.key, lazy.dask)
    assert mine.__dask_scheduler__ == mars_scheduler
    assert get_scheduler(collections=[mine, mine]) is mars_scheduler
    assert mine.compute() == 2


def test_persist_takes_it_for_no_client():
    owner = getattr(mars_scheduler, "__self__", mars_scheduler)
    assert not hasattr(owner, "persist")
    assert "Client" not in type(mars_scheduler).__name__
    assert dask.persist(dask.delayed(inc)(1), scheduler=mars_scheduler)[0].compute(scheduler="sync") == 2


def test_it_has_a_name_and_a_signature():
    assert mars_scheduler.__name__ == "mars_scheduler"
    assert mars_scheduler.__doc__
    parameters = list(inspect.signature(mars_scheduler).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["dsk", "keys"]
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


def test_it_may_be_called_with_keywords():
    assert mars_scheduler(dsk={"x": (inc, 1)}, keys="x") == 2


def test_it_equals_itself_and_nothing_else():
    assert mars_scheduler == mars.contrib.dask.mars_scheduler
    assert mars_scheduler != dask.get
    assert hash(mars_scheduler) == hash(mars.contrib.dask.mars_scheduler)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled_by_reference(protocol: int):
    assert pickle.loads(pickle.dumps(mars_scheduler, protocol)) is mars_scheduler


def test_it_is_pickled_by_reference_by_cloudpickle_too():
    cloudpickle = pytest.importorskip("cloudpickle")
    assert pickle.loads(cloudpickle.dumps(mars_scheduler)) is mars_scheduler


def test_copies_of_it_are_itself():
    assert copy.copy(mars_scheduler) is mars_scheduler
    assert copy.deepcopy(mars_scheduler) is mars_scheduler


def test_it_may_be_wrapped():
    two = functools.partial(mars_scheduler, num_workers=2)
    assert dask.delayed(inc)(1).compute(scheduler=two) == 2
    assert functools.wraps(mars_scheduler)(two).__name__ == "mars_scheduler"


def test_graph_may_mention_it():
    graph = {"inner": (mars_scheduler, (dict, [["k", 5]]), "k"), "outer": (inc, "inner")}
    assert mars_scheduler(graph, "outer") == 6
    assert dask.base.tokenize(mars_scheduler) == dask.base.tokenize(mars_scheduler)


# -- Importing -------------------------------------------------------------------------------------------------------

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def blocking(*names: str) -> str:
    return BLOCKER.format(blocked=set(names))


def test_without_dask_the_import_says_what_to_install():
    done = run(blocking("dask") + "import mars.contrib.dask")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "ImportError" in last or "ModuleNotFoundError" in last
    assert "pip install" in done.stderr
    assert "dask" in last


def test_without_dask_the_error_is_an_import_error():
    script = blocking("dask") + (
        "try:\n    import mars.contrib.dask\nexcept ImportError as error:\n    say('refused:', error)\n"
    )
    (line,) = run_well(script)
    assert line.startswith("refused:")
    assert "dask" in line


def test_without_dask_the_package_itself_imports():
    assert run_well(blocking("dask") + "import mars\nsay('imported')") == ["imported"]


def test_dask_alone_is_enough():
    script = blocking("pandas", "numpy", "distributed", "pyarrow", "psutil", "cachey", "bokeh", "xarray", "tblib") + (
        "import dask, dask.bag\n"
        "from mars.contrib.dask import mars_scheduler\n"
        "lazy = dask.delayed(sum)([dask.delayed(abs)(-i) for i in range(5)])\n"
        "say(lazy.compute(scheduler=mars_scheduler))\n"
        "say(dask.bag.range(10, npartitions=2).sum().compute(scheduler='mars'))\n"
        "say(*sorted({'numpy', 'pandas', 'distributed'} & set(sys.modules)))\n"
    )
    assert [line.strip() for line in run_well(script)] == ["10", "45", ""]


def test_import_loads_no_optional_package():
    script = (
        "import dask\nbefore = set(sys.modules)\nimport mars.contrib.dask\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "say(*sorted(new & {'numpy', 'pandas', 'distributed', 'xarray', 'pyarrow'}))\n"
    )
    assert [line.strip() for line in run_well(script)] == [""]


def test_import_starts_no_thread():
    script = (
        "import dask\nbefore = len(os.listdir('/proc/self/task'))\nimport mars.contrib.dask\n"
        "say(len(os.listdir('/proc/self/task')) - before)\n"
    )
    assert run_well(script) == ["0"]


# -- Beside other engines --------------------------------------------------------------------------------------------

WITH_CLIENT = """
import warnings
warnings.simplefilter("ignore")
import dask
from distributed import Client, get_worker
from mars.contrib.dask import mars_scheduler

def where():
    try:
        get_worker()
    except ValueError:
        return "mars"
    return "distributed"

def nested():
    return dask.delayed(where)().compute(scheduler=mars_scheduler)

if __name__ == "__main__":
    dask.config.set({"temporary-directory": sys.argv[1]})
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        say(dask.delayed(where)(dask_key_name="by default").compute())
        say(dask.delayed(where)(dask_key_name="given").compute(scheduler=mars_scheduler))
        with dask.config.set(scheduler="mars"):
            say(dask.delayed(where)(dask_key_name="set").compute())
        dask.delayed(nested)(dask_key_name="nested").compute()
"""


def test_active_client_is_used_unless_the_scheduler_is_given(tmp_path: Path):
    pytest.importorskip("distributed")
    done = run(WITH_CLIENT, str(tmp_path), within=50)
    assert done.returncode == 0, done
    assert done.stdout.split() == ["distributed", "mars", "mars"]
