"""Work that makes three times the limit and more: what comes of it is what comes without a limit."""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

import dask
import pytest
from spills import MB, is_empty

import mars
from mars.contrib.dask import mars_scheduler

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
db = pytest.importorskip("dask.bag")

pytestmark = pytest.mark.filterwarnings("ignore:Increasing number of chunks")

LIMIT = 10 * MB
#: What running tasks may hold beyond the limit: two workers, each with what it makes.
BLOCK = 2 * MB


def rng() -> Any:
    return da.random.default_rng(3)


def rows() -> Any:
    """32 MB in blocks of 1.6 MB: rows."""
    return rng().random((2000, 2000), chunks=(100, 2000))


def squares() -> Any:
    """32 MB in blocks of 320 kB."""
    return rng().random((2000, 2000), chunks=(200, 200))


def summary(block: Any) -> Any:
    """A few bytes that tell one block from another, bits and order of its elements."""
    if block.size == 0:
        return np.zeros((1, 1))
    values = np.ascontiguousarray(block).view("u1").astype("i8").ravel()
    return np.array([[values @ np.arange(1, values.size + 1) % 1_000_003]], dtype="f8")


def summaries(array: Any) -> Any:
    return array.map_blocks(summary, chunks=((1,) * array.numblocks[0], (1,) * array.numblocks[1]), dtype="f8")


def all_kept(array: Any) -> Any:
    """Everything has to be there before the last task runs, and be met once more after it."""
    return array - array.sum()


def objects() -> Any:
    return squares().map_blocks(lambda b: np.array([str(x) for x in b[0]] * 20, dtype=object).reshape(20, -1))


ARRAYS: dict[str, Callable[[], Any]] = {
    "x plus its transpose": lambda: (squares() + squares().T).sum(),
    "means of what is kept": lambda: all_kept(squares()).mean(axis=0),
    "all to all": lambda: summaries(rows().rechunk((2000, 100))),
    "all to all and back": lambda: summaries(rows().rechunk((2000, 100)).rechunk((100, 2000))),
    "reductions in floats": lambda: [getattr(all_kept(squares()), f)(axis=0) for f in ("sum", "std", "max")],
    "views that are kept": lambda: all_kept(squares()[::2, 5:-5]).sum(axis=0),
    "reversed": lambda: summaries(all_kept(squares())[::-1, ::-3]),
    "cumulated": lambda: summaries(squares().cumsum(axis=0)),
    "overlapping": lambda: summaries(all_kept(squares()).map_overlap(lambda b: b[::-1], depth=3, boundary="reflect")),
    "blocks of size 0": lambda: all_kept(da.concatenate([squares()[:0], squares(), squares()[:0]])).sum(axis=1),
    "read-only blocks": lambda: all_kept(squares().map_blocks(read_only)).sum(axis=0),
    "objects": lambda: objects().rechunk((200, 200)).map_blocks(lambda b: np.array([[hash(b.tolist()[0][0]) % 97]])),
    "differences of all pairs": lambda: da.stack([(squares()[i::20] - squares()[::20]).sum() for i in range(5)]),
    "sorted out": lambda: all_kept(squares())[:, np.argsort(np.arange(2000) * 7 % 2000)].sum(axis=0),
}


def read_only(block: Any) -> Any:
    block = block + 0
    block.flags.writeable = False
    return block


def frame() -> Any:
    """36 MB in 60 partitions."""

    def part(i: int) -> Any:
        draw = np.random.default_rng(i)
        return pd.DataFrame(
            {"k": draw.integers(0, 500, 15_000), "x": draw.random(15_000), "t": ["text", "ü", "a"] * 5_000},
            index=pd.RangeIndex(i * 15_000, (i + 1) * 15_000),
        )

    return dd.from_map(part, range(60), meta=part(0).iloc[:0])


def hashes(part: Any) -> Any:
    """One row that tells of all in a partition, its order and labels too."""
    values = pd.util.hash_pandas_object(part.reset_index()).to_numpy()
    order = np.arange(1, len(values) + 1, dtype="u8")
    return pd.DataFrame({"hash": [int((values * order).sum() >> 11)], "rows": [len(part)]})


def hashed(df: Any) -> Any:
    return df.map_partitions(hashes, meta=pd.DataFrame({"hash": [0], "rows": [0]}))


FRAMES: dict[str, Callable[[], Any]] = {
    "groupby": lambda: frame().groupby("k").x.agg(["mean", "std", "count"], split_out=2),
    "groupby after all of it": lambda: (frame().x - frame().x.mean()).groupby(frame().k).sum(),
    "shuffle": lambda: hashed(frame().shuffle("k", shuffle_method="tasks")),
    "set index": lambda: hashed(frame().set_index("k", shuffle_method="tasks", divisions=list(range(0, 501, 10)))),
    "merge": lambda: hashed(frame().merge(frame()[["k"]].drop_duplicates(), on="k", shuffle_method="tasks")),
    "categories": lambda: hashed(frame().categorize(columns=["t"])),
    "sorted": lambda: hashed(frame().sort_values("x", shuffle_method="tasks")),
}


def first(item: Any) -> Any:
    return item[0]


def bag() -> Any:
    return db.from_sequence(range(200), npartitions=40).map(lambda i: (i % 5, bytes([i]) * 200_000))


BAGS: dict[str, Callable[[], Any]] = {
    "fold by": lambda: bag().foldby(0, lambda n, item: n + len(item[1]), 0, add),
    "group by": lambda: bag().groupby(first, shuffle="tasks").map(lambda g: (g[0], [v[:2] for _, v in g[1]])),
    "product": lambda: bag().map(lambda item: (item[0], len(item[1]))).distinct(),
    "accumulated": lambda: bag().map(lambda item: item[1][:1]).accumulate(add),
}


def delayed_tree() -> Any:
    make = dask.delayed(lambda i: {"list": list(range(i, i + 20_000)), "bytes": bytes([i]) * 300_000})
    parts = [make(i) for i in range(60)]
    total = dask.delayed(sum)([dask.delayed(lambda p: sum(p["list"]))(p) for p in parts])
    return [dask.delayed(lambda p, t: (len(p["bytes"]), p["list"][0], t))(p, total) for p in parts]


def data_set() -> Any:
    xr = pytest.importorskip("xarray")
    ds = xr.Dataset(
        {"t": (("time", "x"), squares()), "u": (("time", "x"), rows())},
        coords={"time": pd.date_range("2020", periods=2000), "x": np.arange(2000)},
    )
    return (ds - ds.mean("time")).groupby("time.month").std()


OTHERS: dict[str, Callable[[], Any]] = {"delayed": delayed_tree, "xarray": data_set}

FRAME_WORK = {f"frame: {name}": work for name, work in FRAMES.items()}
BAG_WORK = {f"bag: {name}": work for name, work in BAGS.items()}
WORK = {**ARRAYS, **FRAME_WORK, **BAG_WORK, **OTHERS}


def same(a: Any, b: Any) -> bool:
    """Type and all that can be seen, floats in arrays to the last bit."""
    assert type(a) is type(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.flags.writeable) == (b.dtype, b.shape, b.flags.writeable)
        return a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes()
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, rtol=1e-12)  # sums in Dask's frames differ from run to run
        return True
    if isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, rtol=1e-12)
        return True
    if hasattr(a, "identical"):
        return bool(a.identical(b))
    return bool(a == b)


@pytest.mark.parametrize(("work", "workers"), [*((work, 2) for work in WORK), *((work, 1) for work in ARRAYS)])
def test_result_is_the_same_under_a_limit(work: str, workers: int):
    with dask.config.set({"scheduler": mars_scheduler, "array.rechunk.threshold": 1000, "array.chunk-size": "2MB"}):
        collection = WORK[work]()
        (expected,) = dask.compute(collection, num_workers=workers)
        with mars.new_session(memory_limit=LIMIT) as session:
            (result,) = dask.compute(collection, num_workers=workers)
            memory = session.memory
            assert memory is not None
            assert same(result, expected)
            assert memory.most_in_memory <= LIMIT + workers * BLOCK
            assert is_empty(memory)


#: What cannot be done without the disk.
MUST_MOVE = [
    "means of what is kept",
    "all to all and back",
    "views that are kept",
    "frame: shuffle",
    "delayed",
    "xarray",
]


@pytest.mark.parametrize("work", MUST_MOVE)
def test_what_does_not_fit_goes_to_disk_and_comes_back(work: str):
    with (
        dask.config.set({"scheduler": mars_scheduler, "array.rechunk.threshold": 1000, "array.chunk-size": "2MB"}),
        mars.new_session(memory_limit=LIMIT, n_workers=2) as session,
    ):
        dask.compute(WORK[work]())
        assert session.memory is not None
        assert session.memory.written > LIMIT / 2
        assert session.memory.read > LIMIT / 2


def test_what_fits_never_goes_to_disk():
    with mars.new_session(memory_limit=50 * MB, n_workers=2) as session:
        (squares() + squares().T).sum().compute(scheduler=mars_scheduler)
        all_kept(squares()).sum().compute(scheduler=mars_scheduler)
        assert session.memory is not None
        assert session.memory.written == 0
        assert session.memory.directory is None


def test_persisted_collection_is_the_callers():
    """It is not counted any more, and computes as it would without a limit."""
    with mars.new_session(memory_limit=50 * MB, n_workers=2) as session:
        persisted = squares().persist(scheduler=mars_scheduler)
        assert session.memory is not None
        assert session.memory.in_memory == 0
        total = all_kept(persisted).sum(axis=0).compute(scheduler=mars_scheduler)
    assert same(total, all_kept(squares()).sum(axis=0).compute(scheduler=mars_scheduler))


def test_caller_may_keep_results_and_change_them():
    """What one computation has returned is not what another one reads."""
    with mars.new_session(memory_limit=LIMIT, n_workers=2):
        x = all_kept(squares())[:200]
        first = x.compute(scheduler=mars_scheduler)
        expected = first.copy()
        first[:] = 0
        assert same(x.compute(scheduler=mars_scheduler), expected)
