"""Exceptions, values and keys that do what they can against being described."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
import weakref
from typing import Any, NoReturn

import dask
import pytest
from support import run_well

import mars
from mars.contrib.dask import mars_scheduler

psutil = pytest.importorskip("psutil")


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise KeyboardInterrupt


class Slots(Exception):
    __slots__ = ("other",)


class MarsSlot(Exception):
    __slots__ = ("mars",)


class NoAttributes(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Swallows(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        pass


class Interrupts(Exception):
    __setattr__ = refuse


class AnythingGoes(Exception):
    def __getattr__(self, name: str) -> str:
        return name


class NothingGoes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Planet(Exception):
    mars = "a planet"


class Property(Exception):
    @property
    def mars(self) -> str:
        return "a property"


class Own(Exception):
    def __init__(self) -> None:
        self.mars = "mine"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 0


class Lies(Exception):
    __class__ = property(refuse)  # type: ignore[assignment]


class Unequal(Exception):
    __eq__ = refuse
    __hash__ = None  # type: ignore[assignment]
    __bool__ = refuse
    __repr__ = refuse
    __str__ = refuse


class NoWeak(Exception):
    __slots__ = ()
    __setattr__ = refuse


KINDS = [
    *(Slots, MarsSlot, NoAttributes, Swallows, Interrupts, AnythingGoes, NothingGoes, Planet, Property, Own, Frozen),
    *(Lies, Unequal, NoWeak),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [False, True])
def test_odd_exceptions_pass_as_they_are_and_are_known_by(kind: type[Exception], keep: bool):
    made: list[Exception] = []

    def fail() -> None:
        made.append(kind())
        raise made[0]

    with dask.config.set({"mars.keep-inputs": keep}):
        try:
            mars_scheduler({"x": (fail,)}, "x")
        except kind as error:
            assert error is made[0]
            if kind not in (Lies, MarsSlot, NoWeak):  # the last two have no place for it
                failure = mars.failure(error)
                assert failure is not None
                assert failure.key == "x"
    attributes = BaseException.__dict__["__dict__"].__get__(made[0])
    if kind in (Planet, Property):
        assert "mars" not in attributes
    elif kind is Own:
        assert attributes["mars"] == "mine"


def test_what_is_beside_an_exception_goes_with_it():
    from mars._failure import _found

    gc.collect()
    before = len(_found._beside)

    def fail() -> None:
        raise Planet

    def compute() -> None:
        with pytest.raises(Planet) as raised:
            mars_scheduler({"x": (fail,)}, "x")
        assert mars.failure(raised.value) is not None

    for _ in range(10):
        compute()
    gc.collect()
    assert len(_found._beside) == before


class Hostile:
    """Everything that could be asked of a value computes for an hour, or ends the program."""

    called = 0

    def _refuse(self, *_: Any) -> NoReturn:
        type(self).called += 1
        raise SystemExit

    shape = dtype = nbytes = property(_refuse)
    __len__ = __repr__ = __str__ = __bool__ = __eq__ = __iter__ = __hash__ = _refuse  # type: ignore[assignment]
    __getattr__ = __array__ = __sizeof__ = __reduce__ = _refuse  # type: ignore[assignment]


class Meta(type):
    __module__ = property(refuse)  # type: ignore[assignment]
    __mro__ = property(refuse)  # type: ignore[assignment]
    __getattribute__ = refuse  # type: ignore[assignment]


def fail(*_: Any, **__: Any) -> None:
    raise ValueError


def arguments_of(*values: Any) -> tuple[str, ...]:
    """How a task describes these."""
    graph: dict[Any, Any] = {("x", i): (lambda value=value: value,) for i, value in enumerate(values)}
    graph["fail"] = (fail, *graph)
    try:
        mars_scheduler(graph, "fail")
    except ValueError as error:
        return error.mars.arguments  # type: ignore[attr-defined]
    raise AssertionError


def test_values_of_the_users_own_classes_are_not_asked():
    hostile = Hostile()
    name = f"{__name__}.Hostile"
    assert arguments_of(hostile, [hostile] * 3, {1: hostile}) == (name, "list, len 3", "dict, len 1")
    assert Hostile.called == 0


def test_classes_with_an_odd_metaclass():
    odd = Meta("Odd", (), {})
    assert arguments_of(object.__new__(odd))[0].endswith("Odd")
    assert arguments_of(odd)[0].startswith("class ")


def test_large_and_long_values_are_short():
    values = ("x" * 10**7, b"y" * 10**7, 10 ** (10**6), list(range(10**6)), {"a": "b" * 10**6}, ["c" * 10**6])
    for text in arguments_of(*values):
        assert len(text) <= 200
    assert arguments_of(list(range(7)), (1,), [], None, 1.5) == ("list, len 7", "(1,)", "[]", "None", "1.5")


def test_subclasses_of_pythons_own():
    class Items(list):  # type: ignore[type-arg]
        __repr__ = refuse  # type: ignore[assignment]

    class Counted(list):  # type: ignore[type-arg]
        __len__ = refuse  # type: ignore[assignment]

    class Number(int):
        __repr__ = refuse  # type: ignore[assignment]

    texts = arguments_of(Items([1, 2]), Counted([1]), Number(3))
    assert [text.rpartition(".")[2] for text in texts] == ["Items, len 2", "Counted", "Number"]


def test_values_of_known_packages():
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    texts = arguments_of(
        np.float64(1.5), np.zeros((2, 3), "i4"), pd.DataFrame({"a": [1, 2]}), pd.Series([1.0]), np.dtype("f8")
    )
    assert texts[:2] == ("np.float64(1.5)", "numpy.ndarray, shape (2, 3), dtype int32, 24 B")
    assert "DataFrame, shape (2, 1)" in texts[2]
    assert "Series, shape (1,), dtype float64, 8 B" in texts[3]


def test_collections_are_not_computed():
    da = pytest.importorskip("dask.array")
    dd = pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    computed = []
    x = da.ones((4,), chunks=2).map_blocks(lambda block: computed.append(1) or block, dtype=float, meta=da.ones(0))
    frame = dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=1)
    box = {"x": x, "frame": frame}

    def call() -> None:
        fail(box)

    texts = arguments_of(box, [x, frame])
    assert texts == ("dict, len 2", "list, len 2")
    assert all("dask" in text for text in arguments_of(*box.values()))
    assert computed == []


def test_attributes_that_are_no_shape():
    class Plain:
        def __init__(self, **attributes: Any) -> None:
            self.__dict__.update(attributes)

    class Tuple(tuple):  # type: ignore[type-arg]
        __iter__ = refuse  # type: ignore[assignment]
        __len__ = refuse  # type: ignore[assignment]

    values = [
        Plain(shape=(2, 3), dtype="f8", nbytes=48),
        Plain(shape=Tuple((1,))),
        Plain(shape=(1,) * 100_000),
        Plain(shape=(Hostile(),), dtype=Hostile(), nbytes=Hostile()),
        Plain(shape=1, nbytes=-(10**30), dtype="d" * 10**6),
        Plain(nbytes=10**4000),
    ]
    texts = [text.rpartition("Plain")[2] for text in arguments_of(*values)]
    assert texts[0] == ", shape (2, 3), dtype f8, 48 B"
    assert texts[1:4] == [", shape (1,)", "", ""]
    assert all(len(text) <= 200 for text in texts)


def test_keys_without_repr():
    class Key:
        __repr__ = refuse  # type: ignore[assignment]

    key = ("x", Key())
    with pytest.raises(ValueError) as raised:
        mars_scheduler({key: (fail,), "y": (fail, key)}, "y")
    failure = mars.failure(raised.value)
    assert failure is not None
    assert failure.key is key
    assert failure.name == "<a key without repr>"


def test_callables_that_hide_their_names():
    class Call:
        __name__ = property(refuse)  # type: ignore[assignment]
        __getattr__ = refuse

        def __call__(self) -> None:
            raise ValueError

    def named() -> None:
        raise ValueError

    named.__module__ = Hostile()  # type: ignore[assignment]
    for function in (Call(), named, Call().__call__):
        with pytest.raises(ValueError) as raised:
            mars_scheduler({"x": (function,)}, "x")
        assert mars.failure(raised.value).function  # type: ignore[union-attr]


def test_a_thousand_failures_do_not_grow():
    process = psutil.Process()

    def compute() -> None:
        graph: dict[Any, Any] = {("x", i): (bytes, 20_000) for i in range(20)}
        graph["y"] = (fail, list(graph))
        with pytest.raises(ValueError):
            mars_scheduler(graph, "y")

    with dask.config.set({"mars.keep-inputs": True}):
        for _ in range(100):
            compute()
        gc.collect()
        before = process.memory_info().rss
        for _ in range(1000):
            compute()
        gc.collect()
    assert process.memory_info().rss - before < 10 * 2**20


def test_failures_in_threads_at_once():
    barrier = threading.Barrier(4)

    def compute(i: int) -> None:
        barrier.wait(20)
        for j in range(50):
            try:
                mars_scheduler({(i, j): (fail, i, j), "y": (fail, (i, j))}, "y")
            except ValueError as error:
                assert error.mars.arguments == (str(i), str(j))  # type: ignore[attr-defined]

    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            compute(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_several_tasks_fail_at_the_same_time():
    barrier = threading.Barrier(4)
    seen: list[weakref.ref[Exception]] = []

    def fail_together(i: int) -> None:
        barrier.wait(20)
        error = Planet(i)
        seen.append(weakref.ref(error))
        raise error

    with pytest.raises(Planet) as raised:
        mars_scheduler({f"x{i}": (fail_together, i) for i in range(4)}, [f"x{i}" for i in range(4)], num_workers=4)
    failure = mars.failure(raised.value)
    assert failure is not None
    assert failure.key == f"x{raised.value.args[0]}"


def test_a_ring_of_failures_ends_nothing():
    error = ValueError()

    def raise_it() -> None:
        raise error

    def nested() -> None:
        mars_scheduler({"in": (raise_it,)}, "in")

    def ring() -> None:
        try:
            nested()
        except ValueError:
            failure = mars.failure(error)
            assert failure is not None
            failure.outer = failure
            raise

    with pytest.raises(ValueError) as raised:
        mars_scheduler({"out": (ring,)}, "out")
    assert raised.value is error


def test_exit_while_a_failure_is_held():
    source = """
    import dask, mars
    from mars.contrib.dask import mars_scheduler
    dask.config.set({"mars.keep-inputs": True})
    class Loud:
        def __del__(self):
            pass
    def fail(x):
        raise ValueError
    try:
        mars_scheduler({"x": (Loud,), "y": (fail, "x")}, "y")
    except ValueError as error:
        held = error
        error.mars.itself = error
    say(held.mars.function)
    """
    assert run_well(source) == ["__main__.fail"]


def test_without_dask():
    source = """
    sys.modules["dask"] = None
    os.environ["DASK_MARS__KEEP_INPUTS"] = "true"
    import mars, mars.remote as mr
    try:
        mr.spawn(divmod, args=(1, 0)).execute()
    except ZeroDivisionError as error:
        say(error.mars.function, error.mars.arguments, error.mars.inputs_kept)
    """
    assert run_well(source) == ["divmod ('1', '0') True"]


def test_slow_shapes_are_not_waited_for():
    class Slow:
        @property
        def shape(self) -> tuple[int, ...]:
            time.sleep(3600)
            return ()

    assert arguments_of(Slow())[0].endswith("Slow")
