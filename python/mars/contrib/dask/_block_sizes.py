"""How large results are, as far as that is known before anything runs.

Only what is certain counts: a block of an array of numbers has as many bytes as its shape and its
dtype say. Of other results nobody knows, unless the user says it. Not even of all arrays on the way:
where Dask keeps them as expressions (setting ``array.query-planning``), those inside of a reduction do not
have the shape that they claim, and some are dicts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from dask.base import is_dask_collection
from dask.sizeof import sizeof
from dask.utils import parse_bytes

__all__ = ["Sizes", "as_bytes", "known_sizes", "size_of_values", "split_sizes"]

#: What a user may say of sizes.
Sizes = Mapping[Any, Any] | Callable[[Any], Any]


def split_sizes(sizes: Sizes | None) -> tuple[dict[Any, int], Callable[[Any], int | None] | None]:
    """What the user says: bytes by key, layer or prefix; and a function to ask for the size of a key.

    Raises
    ------
    TypeError, ValueError
        It is neither mapping nor function, or a size makes no sense.
    """
    if sizes is None:
        return {}, None
    if isinstance(sizes, Mapping):
        return {key: as_bytes(size) for key, size in sizes.items() if size is not None}, None
    if not callable(sizes):
        raise TypeError(f"sizes must be a mapping or a function of a key, not {sizes!r:.200}")
    ask = sizes

    def size_of(key: Any) -> int | None:
        size = ask(key)
        return None if size is None else as_bytes(size)

    return {}, size_of


def as_bytes(size: Any) -> int:
    """A number of bytes from a number, or from a text such as ``"64 MiB"``.

    Raises
    ------
    TypeError, ValueError
        It is no such thing, or negative.
    """
    try:
        if isinstance(size, (str, float)):
            count: int = parse_bytes(size)
        else:
            count = operator.index(size)
    except (ValueError, OverflowError):
        raise ValueError(f"not a number of bytes: {size!r:.200}") from None
    except TypeError:
        raise TypeError(f"not a number of bytes: {size!r:.200}") from None
    if count < 0:
        raise ValueError(f"a number of bytes cannot be negative: {size!r:.200}")
    return count


def known_sizes(collections: Iterable[Any], keys: list[Any]) -> dict[Any, int]:
    """By key, the sizes that collections tell of.

    Parameters
    ----------
    collections
        In the order in which ``dask.compute`` takes them.
    keys
        The keys of their values.
    """
    known: dict[Any, int] = {}
    collections = list(collections)
    totals = []
    for collection in collections:
        arrays = [_add_blocks(array, known) for array in _arrays_in(collection)]
        of_known_size = [size for size in arrays if size is not None]
        totals.append(sum(of_known_size) if arrays and of_known_size == arrays else None)
    # Collections of several kinds are put into another order by Dask.
    if len(keys) == len(totals) and (len(keys) == 1 or all(map(_is_array, collections))):
        known.update((key, total) for key, total in zip(keys, totals, strict=True) if total is not None)
    return known


def size_of_values(values: Iterable[Any]) -> int:
    """What values of a graph take, each counted once, as Dask estimates it."""
    return sum(sizeof(value) for value in {id(value): value for value in values}.values())


def _is_array(collection: Any) -> bool:
    """Whether it has what a Dask array has, of either of Dask's implementations."""
    return all(hasattr(collection, name) for name in ("chunks", "dtype", "_meta", "__dask_keys__", "numblocks"))


def _arrays_in(collection: Any) -> Iterator[Any]:
    """The Dask arrays that a collection consists of."""
    if _is_array(collection):
        yield collection
    elif type(collection).__module__.startswith("xarray."):
        variables = getattr(collection, "variables", None)
        if variables is None:  # an xarray.DataArray
            variables = {"": getattr(collection, "variable", collection), **getattr(collection, "coords", {})}
        for variable in variables.values():
            data = getattr(variable, "data", None)
            if is_dask_collection(data) and _is_array(data):
                yield data


def _add_blocks(array: Any, known: dict[Any, int]) -> int | None:
    """Put the size of every block of `array` into `known`; the size of all, if known."""
    import numpy as np

    dtype = array.dtype
    # Other kinds of arrays (sparse, masked, ...) take more or less; and what objects take, nobody knows.
    if type(array._meta) is not np.ndarray or dtype.hasobject:
        return None
    if any(math.isnan(length) for lengths in array.chunks for length in lengths):
        return None
    numbered = [list(enumerate(map(int, lengths))) for lengths in array.chunks]
    name = array.name
    total = 0
    for block in product(*numbered):
        size = math.prod(length for _, length in block) * dtype.itemsize
        known[name, *(place for place, _ in block)] = size
        total += size
    return total
