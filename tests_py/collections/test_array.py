"""Array: reductions, rechunking, linear algebra, overlap, stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

np = pytest.importorskip("numpy")
da = pytest.importorskip("dask.array")


def drawn(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape)


def square() -> Any:
    return da.from_array(drawn(60, 60), chunks=(20, 15))


def tall() -> Any:
    return da.from_array(drawn(200, 10), chunks=(40, 10))


def cube() -> Any:
    return da.from_array(drawn(12, 20, 30), chunks=(5, 7, 11))


def scaled_by_place(block: Any, block_info: Any = None) -> Any:
    return block * block_info[0]["chunk-location"][0]


WORK: dict[str, Callable[[], Any]] = {
    "mean of x plus its transpose": lambda: (square() + square().T).mean(),
    "sum of ones": lambda: (da.ones((100, 100), chunks=10) + 1).sum(),
    "reductions": lambda: [getattr(cube(), name)(axis=1) for name in ("sum", "std", "max", "argmin", "prod", "any")],
    "cumulative sum": lambda: cube().cumsum(axis=2),
    "median": lambda: da.median(cube(), axis=0),
    "percentile": lambda: da.percentile(da.from_array(drawn(500), chunks=100), [10, 50, 90], method="linear"),
    "rechunk": lambda: square().rechunk((7, 60)).rechunk((60, 13)),
    "reshape": lambda: cube().reshape(12, 600).rechunk((12, 100)).reshape(12, 20, 30),
    "tensordot": lambda: da.tensordot(cube(), cube(), axes=((1, 2), (1, 2))),
    "einsum": lambda: da.einsum("ijk,ljk->il", cube(), cube()),
    "matmul": lambda: square() @ square().T,
    "svd": lambda: abs(da.linalg.svd(tall())[1]),
    "qr": lambda: (lambda q, r: [abs(r), q @ r])(*da.linalg.qr(tall())),
    "solve": lambda: da.linalg.solve(
        (square() @ square().T).rechunk(20) + 60 * da.eye(60, chunks=20), da.ones(60, chunks=20)
    ),
    "fft": lambda: da.fft.fft(square().rechunk((20, 60)), axis=1),
    "map overlap": lambda: square().map_overlap(lambda block: block - block.mean(), depth=2, boundary="reflect"),
    "overlap of neighbours": lambda: da.overlap.overlap(square(), depth=1, boundary="periodic").sum(),
    "map blocks": lambda: square().map_blocks(scaled_by_place, dtype=float, meta=np.empty((0, 0))),
    "slicing": lambda: cube()[::2, [3, 1, 7], 5:-5][:, ::-1],
    "boolean index": lambda: square()[square() > 0].sum(),
    "where": lambda: da.where(square() > 0, square(), -square()),
    "stack and concatenate": lambda: da.concatenate([da.stack([square(), square() + 1]), da.stack([square()])]),
    "histogram": lambda: da.histogram(square(), bins=10, range=(-3, 3))[0],
    "unique": lambda: da.unique((square() * 3).astype(int)),
    "topk": lambda: da.topk(square().ravel(), 5),
    "coarsen": lambda: da.coarsen(np.mean, square(), {0: 2, 1: 3}),
    "apply along axis": lambda: da.apply_along_axis(np.ptp, 0, square()),
    "gufunc": lambda: da.apply_gufunc(lambda x: x.mean(axis=-1), "(i)->()", square().rechunk((20, 60))),
    "masked": lambda: da.ma.masked_greater(square(), 0).sum(),
    "random with a seed": lambda: da.random.default_rng(3).normal(size=(50, 50), chunks=20).std(),
    "from delayed": lambda: da.concatenate(
        [da.from_delayed(dask.delayed(drawn)(5, 4), (5, 4), dtype=float) for _ in range(4)]
    ).sum(axis=1),
    "structured": lambda: square().astype([("a", "f4")])["a"].sum(),
    "shared input": lambda: [square().mean(), square().std(), (square() - square().mean()).sum()],
}


@pytest.mark.filterwarnings("ignore:Increasing number of chunks")
@pytest.mark.parametrize("name", WORK)
def test_result_is_dasks(name: str, ours: Callable, stock: Callable):
    if name == "solve":
        pytest.importorskip("scipy")
    for mine, theirs in zip(flat(ours(WORK[name]())), flat(stock(WORK[name]())), strict=True):
        assert type(mine) is type(theirs)
        np.testing.assert_allclose(mine, theirs)


def flat(results: Any) -> list[Any]:
    if isinstance(results, tuple | list):
        return [leaf for result in results for leaf in flat(result)]
    return [results]


def test_store_into_an_array_of_the_caller(ours: Callable):
    sources = [square(), square() + 1]
    targets = [np.zeros((60, 60)), np.zeros((60, 60))]
    da.store(sources, targets)
    np.testing.assert_array_equal(targets[0], drawn(60, 60))
    np.testing.assert_array_equal(targets[1], drawn(60, 60) + 1)


def test_store_returns_what_it_stored(ours: Callable):
    target = np.zeros((60, 60))
    stored = da.store(square(), target, return_stored=True)
    np.testing.assert_array_equal(ours(stored)[0], drawn(60, 60))
    np.testing.assert_array_equal(target, drawn(60, 60))


def test_npy_round_trip(tmp_path: Path, ours: Callable):
    da.to_npy_stack(str(tmp_path / "stack"), cube(), axis=0)
    (result,) = ours(da.from_npy_stack(str(tmp_path / "stack")))
    np.testing.assert_array_equal(result, drawn(12, 20, 30))


def test_zarr_round_trip(tmp_path: Path, ours: Callable):
    pytest.importorskip("zarr")
    square().rechunk(20).to_zarr(str(tmp_path / "store.zarr"))
    (result,) = ours(da.from_zarr(str(tmp_path / "store.zarr")))
    np.testing.assert_array_equal(result, drawn(60, 60))


def test_hdf5_round_trip(tmp_path: Path, ours: Callable):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "store.h5"
    square().to_hdf5(str(path), "/x")
    with h5py.File(path) as file:
        (result,) = ours(da.from_array(file["x"], chunks=20).sum())
    np.testing.assert_allclose(result, drawn(60, 60).sum())


def test_persist_then_compute(ours: Callable):
    loads: list[int] = []

    def load(block: Any) -> Any:
        loads.append(1)
        return block

    persisted = square().map_blocks(load, dtype=float, meta=np.empty((0, 0))).persist()
    mean, total = ours(persisted.mean(), persisted.sum())
    np.testing.assert_allclose([mean, total], [drawn(60, 60).mean(), drawn(60, 60).sum()])
    assert len(loads) == 12


def test_persisted_chunks_are_not_copied(ours: Callable):
    persisted = da.ones((10, 10), chunks=(10, 10)).persist()
    first, second = (ours(persisted.to_delayed()[0, 0])[0] for _ in range(2))
    assert first is second


def test_computed_together_shares_the_input(ours: Callable):
    loads: list[int] = []

    def load(block: Any) -> Any:
        loads.append(1)
        return block

    x = square().map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    low, high = ours(x.min(), x.max())
    assert (low, high) == (drawn(60, 60).min(), drawn(60, 60).max())
    assert len(loads) == 12


def test_numpy_asks_for_the_values(ours: Callable):
    np.testing.assert_array_equal(np.asarray(square()), drawn(60, 60))
    assert float(square().sum()) == pytest.approx(drawn(60, 60).sum())
    assert bool((square() < 100).all())
