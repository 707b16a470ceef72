"""xarray: climatology, resampling, windows, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
xr = pytest.importorskip("xarray")
pytest.importorskip("dask.array")

# The paths through the engine are those of arrays and delayed calls, which run with one worker too.
pytestmark = pytest.mark.parametrize("ours", [None], indirect=True, ids=["all workers"])


def in_memory() -> Any:
    draw = np.random.default_rng(5)
    return xr.Dataset(
        {
            "temperature": (("time", "lat", "lon"), draw.standard_normal((365, 8, 9))),
            "rain": (("time", "lat", "lon"), draw.random((365, 8, 9))),
        },
        {"time": pd.date_range("2023-01-01", periods=365), "lat": np.arange(8.0), "lon": np.arange(9.0)},
    )


def dataset() -> Any:
    return in_memory().chunk({"time": 30, "lat": 4})


def anomaly(data: Any) -> Any:
    groups = data.groupby("time.month")
    return groups - groups.mean("time")


WORK: dict[str, Callable[[Any], Any]] = {
    "climatology by month": lambda data: data.groupby("time.month").mean("time"),
    "anomaly": anomaly,
    "season": lambda data: data.groupby("time.season").std(),
    "resample": lambda data: data.resample(time="1ME").mean(),
    "rolling": lambda data: data.rolling(time=7, center=True).mean(),
    "coarsen": lambda data: data.coarsen(lat=2, lon=3).max(),
    "weighted": lambda data: data.weighted(np.cos(np.deg2rad(data.lat))).mean(("lat", "lon")),
    "cumulative": lambda data: data.rain.cumsum("time"),
    "quantile": lambda data: data.temperature.chunk({"time": -1}).quantile([0.1, 0.9], "time", skipna=False),
    "interpolation": lambda data: data.interp(lon=[0.5, 3.25]),
    "selection": lambda data: data.sel(time="2023-03", lat=3).isel(lon=slice(None, None, 2)),
    "where": lambda data: data.where(data.rain > 0.5).count("time"),
    "stack": lambda data: data.stack(point=("lat", "lon")).mean("point"),
    "concat": lambda data: xr.concat([data, data + 1], "copy").sum("copy"),
    "dot": lambda data: xr.dot(data.temperature, data.rain, dim="time"),
    "polyfit": lambda data: data.temperature.chunk({"time": -1}).polyfit("time", 1).polyfit_coefficients,
    "ufunc": lambda data: xr.apply_ufunc(
        np.hypot, data.temperature, data.rain, dask="parallelized", output_dtypes=[float]
    ),
    "map blocks": lambda data: data.map_blocks(lambda block: block * 2) if data.chunks else data * 2,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", WORK)
def test_result_is_that_of_arrays_in_memory(name: str, ours: Callable):
    lazy = WORK[name](dataset())
    assert dask.is_dask_collection(lazy)
    (result,) = ours(lazy)
    xr.testing.assert_allclose(result, WORK[name](in_memory()), check_dim_order=False)


def test_load_and_persist(ours: Callable):
    persisted = dataset().persist()
    assert dask.is_dask_collection(persisted)
    xr.testing.assert_identical(persisted.load(), in_memory())


def test_datasets_computed_together(ours: Callable):
    low, high = ours(dataset().min(), dataset().max())
    xr.testing.assert_identical(low, in_memory().min())
    xr.testing.assert_identical(high, in_memory().max())


def test_zarr_round_trip(tmp_path: Path, ours: Callable):
    pytest.importorskip("zarr")
    store = str(tmp_path / "data.zarr")
    dataset().to_zarr(store, consolidated=False)
    with xr.open_zarr(store, consolidated=False) as back:
        xr.testing.assert_allclose(back.mean("time").compute(), in_memory().mean("time"))


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_netcdf_round_trip(tmp_path: Path, ours: Callable, engine: str):
    for package in {"netcdf4": ["netCDF4"], "h5netcdf": ["h5netcdf", "h5py"]}[engine]:
        pytest.importorskip(package)
    path = str(tmp_path / "data.nc")
    dataset().to_netcdf(path, engine=engine)
    with xr.open_dataset(path, engine=engine, chunks={"time": 50}) as back:
        xr.testing.assert_allclose(
            back.groupby("time.month").mean().compute(), in_memory().groupby("time.month").mean()
        )


def test_save_that_is_put_off(tmp_path: Path, ours: Callable):
    """xarray passes options of its own to the scheduler when the store is computed later."""
    pytest.importorskip("zarr")
    store = str(tmp_path / "data.zarr")
    later = dataset().to_zarr(store, consolidated=False, compute=False)
    later.compute()
    with xr.open_zarr(store, consolidated=False) as back:
        xr.testing.assert_identical(back.load().drop_attrs(), in_memory())


def test_scheduler_as_an_argument(ours: Callable):
    from mars.contrib.dask import mars_scheduler

    result = dataset().temperature.mean().compute(scheduler=mars_scheduler)
    xr.testing.assert_allclose(result, in_memory().temperature.mean())
