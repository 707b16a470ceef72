"""xarray: the climatology of ten years of daily fields, and what departs from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import pandas as pd
import xarray as xr

from cases.case import Case


def climatology(folder: Path) -> tuple[Any, ...]:
    days = pd.date_range("2000-01-01", periods=3_652)
    values = da.random.default_rng(4).random((3_652, 60, 120), chunks=(365, 60, 60))
    field = xr.DataArray(values, dims=("time", "lat", "lon"), coords={"time": days}, name="t")
    by_month = field.groupby("time.month")
    return ((by_month - by_month.mean("time")).std("time"),)


CASES = [Case("xarray climatology, anomaly", climatology)]
