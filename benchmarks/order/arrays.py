"""Array computations to be ordered."""

from __future__ import annotations

import dask.array as da
import numpy as np

from .registry import case, random


@case
def sum_1d():
    return (random((400_000,), (1_000,)).sum(),)


@case
def mean_3d():
    return (random((80, 80, 80), (10, 10, 10)).mean(axis=0).sum(),)


@case
def nanmean():
    return (da.nanmean(random((600, 600), (30, 30)), axis=0),)


@case
def std():
    x = random((600, 600), (30, 30))
    return ((x - x.mean(axis=0)) / x.std(axis=0),)


@case
def normalize_then_sum():
    x = random((600, 600), (30, 30))
    return (((x - x.mean()) / x.std()).sum(),)


@case
def mean_and_std_shared():
    x = random((600, 600), (30, 30))
    return x.mean(), x.std(), x.max(axis=0)


@case
def sum_and_transpose_shared():
    x = random((400, 400), (40, 40))
    y = x + 1
    return y.sum(axis=0), (y.T * 2).sum(axis=1), y[::2].mean()


@case
def x_plus_xt_mean():
    x = random((1_000, 1_000), (50, 50))
    return ((x + x.T).mean(),)


@case
def rechunk_split():
    return (random((600, 600), (60, 60)).rechunk((25, 100)).sum(axis=0),)


@case
def rechunk_rows_to_columns():
    return (random((800, 800), (20, 800)).rechunk((800, 20)).mean(axis=0),)


@case
def rechunk_kept():
    return (random((600, 600), (100, 30)).rechunk((30, 100)),)


@case
def matmul():
    x, y = random((400, 400), (40, 40)), random((400, 400), (40, 40))
    return (x @ y,)


@case
def tensordot():
    x = random((120, 120, 12), (20, 20, 6))
    y = random((120, 120, 12), (20, 20, 6))
    return (da.tensordot(x, y, axes=((0, 1), (0, 1))).sum(),)


@case
def einsum():
    x, y = random((200, 200), (25, 25)), random((200, 200), (25, 25))
    return (da.einsum("ij,jk,ik->i", x, y, x),)


@case
def normal_equations():
    x, y = random((2_000, 60), (50, 30)), random((2_000,), (50,))
    return (da.linalg.solve(x.T @ x, x.T @ y),)


@case
def qr():
    q, r = da.linalg.qr(random((4_000, 30), (50, 30)))
    return q, r


@case
def svd():
    u, s, v = da.linalg.svd(random((4_000, 30), (50, 30)))
    return u, s, v


@case
def svd_compressed():
    _, s, v = da.linalg.svd_compressed(random((1_000, 600), (50, 50)), k=5, seed=0)
    return s, v


@case
def cholesky():
    x = random((200, 200), (20, 20))
    return (da.linalg.cholesky(x @ x.T + 200 * da.eye(200, chunks=20)),)


@case
def lu():
    x = random((160, 160), (20, 20)) + 160 * da.eye(160, chunks=20)
    return da.linalg.lu(x)


@case
def map_overlap():
    x = random((400, 400), (40, 40))
    return (x.map_overlap(lambda b: b * 2, depth=2, boundary="reflect").sum(),)


@case
def map_overlap_three_times():
    x = random((240, 240), (30, 30))
    for _ in range(3):
        x = x.map_overlap(lambda b: b + 1, depth=1, boundary="none")
    return (x.mean(),)


@case
def differences():
    x = random((600, 600), (60, 60))
    return ((x[1:, 1:] - x[:-1, :-1]).std(),)


@case
def double_difference():
    a = random((480, 320), (20, 320))
    anomaly = a - a.mean(axis=0)
    return (da.diff(anomaly, n=2, axis=0).sum(axis=0),)


@case
def cumsum():
    return (random((200_000,), (1_000,)).cumsum(axis=0).max(),)


@case
def histogram():
    return (da.histogram(random((200_000,), (1_000,)), bins=20, range=(0, 1))[0],)


@case
def fft_of_rechunked():
    return (da.fft.fft(random((400, 400), (400, 20)).rechunk((20, 400)), axis=1).mean(axis=1),)


@case
def sliding_window():
    x = random((20_000,), (200,))
    return (da.lib.stride_tricks.sliding_window_view(x, 10).mean(axis=-1).max(),)


@case
def masked_and_counted():
    x = random((600, 600), (30, 30))
    mask = x > 0.5
    return da.where(mask, x, 0).sum(axis=0), mask.sum(axis=1), x[:300].min()


@case
def store():
    x = random((600, 600), (30, 30)) + 1
    return (da.store(x, np.zeros((600, 600)), compute=False),)


@case
def store_two():
    x = random((600, 600), (60, 60))
    targets = [np.zeros((600, 600)), np.zeros((600, 600))]
    return (da.store([x + 1, x - x.mean(axis=0)], targets, compute=False),)


@case
def wind_products():
    # Products of fields, averaged over time: what order() was once rewritten for.
    u = random((120, 8, 100), (1, 8, 100))
    v = random((120, 8, 100), (1, 8, 100))
    return (u * u).mean(axis=0), (v * v).mean(axis=0), (u * v).mean(axis=0)
