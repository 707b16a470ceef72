"""`spawn`: what it takes and refuses, and how the calls that it makes run."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
import traceback
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import add, inc, run_well

import mars
import mars.remote as mr

Pair = namedtuple("Pair", "first second")


def given(*args: object, **kwargs: object) -> tuple[tuple, dict]:
    return args, kwargs


@pytest.fixture
def one_worker() -> Iterator[mars.Session]:
    with mars.new_session(n_workers=1, default=False) as session:
        yield session


# Arguments.


@pytest.mark.parametrize(
    ("args", "arrived"),
    [
        ((), ()),
        ((1, 2), (1, 2)),
        (((1, 2),), ((1, 2),)),
        (5, (5,)),
        ([1, 2], ([1, 2],)),
        ("ab", ("ab",)),
        ({"a": 1}, ({"a": 1},)),
        (Pair(1, 2), (1, 2)),
        (None, (None,)),
    ],
    ids=repr,
)
def test_args_that_are_no_tuple_are_one_argument(session: mars.Session, args: object, arrived: tuple):
    assert mr.spawn(given, args=args).to_object() == (arrived, {})


def test_object_as_args_is_one_argument(session: mars.Session):
    assert mr.spawn(given, args=mr.spawn(int, args=("7",))).to_object() == ((7,), {})


def test_list_with_an_object_as_args_is_one_argument(session: mars.Session):
    assert mr.spawn(given, args=[mr.spawn(int, args=("7",)), 8]).to_object() == (([7, 8],), {})


def test_executable_tuple_as_args_is_one_argument(session: mars.Session):
    both = mr.ExecutableTuple([mr.spawn(int, args=("7",)), 8])
    assert mr.spawn(given, args=both).to_object() == (([7, 8],), {})


def test_positional_arguments_of_spawn_are_in_the_documented_order(session: mars.Session):
    first, second = mr.spawn(divmod, (17, 5), None, False, False, 2)
    assert mars.execute(first, second).fetch() == [3, 2]


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"], ["self", "func", "args", "kwargs", "n_output"]])
def test_keyword_arguments_arrive_in_order_whatever_their_names(session: mars.Session, names: list[str]):
    kwargs = {name: mr.spawn(int, args=(str(i),)) for i, name in enumerate(names)}
    args, arrived = mr.spawn(given, args=("x",), kwargs=kwargs).to_object()
    assert args == ("x",)
    assert list(arrived.items()) == [(name, i) for i, name in enumerate(names)]


@pytest.mark.parametrize("kwargs", [None, {}, OrderedDict()])
def test_no_keyword_arguments(session: mars.Session, kwargs: dict | None):
    assert mr.spawn(given, kwargs=kwargs).to_object() == ((), {})


def test_subclass_of_dict_as_kwargs(session: mars.Session):
    kwargs = OrderedDict(b=mr.spawn(int, args=("1",)), a=2)
    assert list(mr.spawn(dict, kwargs=kwargs).to_object().items()) == [("b", 1), ("a", 2)]


@pytest.mark.parametrize("kwargs", [[], [("a", 1)], "a", 5, (), {"a"}], ids=repr)
def test_kwargs_that_are_no_dict_are_refused(kwargs: Any):
    with pytest.raises(TypeError, match="kwargs has to be a dict, not .*" + type(kwargs).__name__):
        mr.spawn(given, kwargs=kwargs)


@pytest.mark.parametrize("name", [1, None, ("a",)], ids=repr)
def test_names_in_kwargs_that_are_no_text_are_refused(name: Any):
    with pytest.raises(TypeError) as raised:
        mr.spawn(given, kwargs={name: 1})
    assert str(raised.value) == f"the names in kwargs have to be str, not {name!r}"


@pytest.mark.parametrize(("kw", "names"), [({"n_outputs": 2}, "n_outputs"), ({"foo": 1, "bar": 2}, "foo, bar")])
def test_unknown_keywords_are_refused_by_name(kw: dict[str, Any], names: str):
    with pytest.raises(ValueError) as raised:
        mr.spawn(given, **kw)
    assert str(raised.value) == f"Unexpected kw: {names}"


@pytest.mark.parametrize("func", [5, None, "len", [len]], ids=repr)
def test_what_cannot_be_called_is_refused_at_once(func: Any):
    with pytest.raises(TypeError) as raised:
        mr.spawn(func)
    assert str(raised.value) == f"func has to be callable, got {func!r} of type {type(func).__name__}"


def test_object_is_no_function():
    obj = mr.spawn(int)
    with pytest.raises(TypeError, match="has to be callable, got Object <op=RemoteFunction"):
        mr.spawn(obj)  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", [True, False])
def test_tileable_input_is_resolved_anyway(session: mars.Session, flag: bool):
    obj = mr.spawn(inc, args=(mr.spawn(int),), resolve_tileable_input=flag)
    assert obj.to_object() == 1


@pytest.mark.parametrize("flag", [1, "yes"], ids=repr)
def test_resolve_tileable_input_that_is_no_flag_is_refused(flag: Any):
    with pytest.raises(TypeError) as raised:
        mr.spawn(inc, resolve_tileable_input=flag)
    assert str(raised.value) == f"resolve_tileable_input has to be True or False, not {flag!r}"


# Lazy, once, and in the right order.


def test_nothing_runs_before_it_is_executed(session: mars.Session):
    calls: list[int] = []
    obj = mr.spawn(calls.append, args=(1,))
    mr.spawn(calls.append, args=(obj,))
    assert calls == []
    obj.execute()
    assert calls == [1]


def test_object_that_is_used_twice_runs_once(session: mars.Session):
    r"""
      base
     /  | \
    [a, b, c]
    """
    calls: list[str] = []
    base = mr.spawn(lambda: calls.append("base") or object())
    above = mr.spawn(lambda *values, last: (values, last), args=(base, [base]), kwargs={"last": {"x": base}})
    (a, (b,)), last = above.to_object()
    assert calls == ["base"]
    assert a is b is last["x"]


def test_diamonds_of_forty_levels_are_linear(session: mars.Session):
    r"""Two objects a level, each used by both of the next: 2**40 paths.

    x0  y0
     | X |
    x1  y1
     | X |
    ...
    """
    calls: Counter[int] = Counter()

    def level(n: int, x: int, y: int) -> int:
        calls[n] += 1
        return x + y

    x, y = mr.spawn(int, args=("1",)), mr.spawn(int, args=("1",))
    for n in range(40):
        x, y = (mr.spawn(level, args=(n, x, y)) for _ in range(2))
    assert mars.execute(x, y).fetch() == [2**40, 2**40]
    assert calls == Counter(dict.fromkeys(range(40), 2))


def test_chain_of_a_hundred_thousand_objects(session: mars.Session):
    obj = mr.spawn(int)
    for _ in range(100_000):
        obj = mr.spawn(inc, args=(obj,))
    assert obj.to_object() == 100_000


def test_long_chain_that_was_never_executed_is_let_go_of():
    lines = run_well("""
        import mars.remote as mr
        obj = mr.spawn(int)
        for _ in range(200_000):
            obj = mr.spawn(abs, args=(obj,))
        del obj
        say("gone")
    """)
    assert lines == ["gone"]


def test_function_with_a_hundred_thousand_arguments(session: mars.Session):
    objects = tuple(mr.spawn(int, args=(str(i),)) for i in range(100_000))
    assert mr.spawn(lambda *values: values == tuple(range(100_000)), args=objects).to_object() is True


def test_independent_functions_run_at_the_same_time(session: mars.Session):
    barrier = threading.Barrier(2)
    both = [mr.spawn(barrier.wait, args=(30,)) for _ in range(2)]
    assert sorted(mars.execute(*both).fetch()) == [0, 1]


def test_no_more_functions_run_at_the_same_time_than_the_session_has_workers():
    inside = threading.Semaphore(2)

    def enter(_: int) -> bool:
        entered = inside.acquire(blocking=False)
        if entered:
            inside.release()
        return entered

    with mars.new_session(n_workers=2, default=False) as session:
        objects = [mr.spawn(enter, args=(i,)) for i in range(200)]
        assert all(session.execute(*objects).fetch())


# Kinds of functions.


class Account:
    """Callables of all kinds."""

    def __init__(self, balance: int) -> None:
        self.balance = balance

    def plus(self, amount: int) -> int:
        return self.balance + amount

    @classmethod
    def named(cls, balance: int) -> str:
        return f"{cls.__name__} {balance}"

    @staticmethod
    def double(amount: int) -> int:
        return 2 * amount

    def __call__(self, amount: int) -> int:
        return self.balance - amount


FUNCTIONS: dict[str, tuple[Callable[..., Any], Any]] = {
    "function": (inc, 4),
    "lambda": (lambda x: x * 10, 30),
    "closure": ((lambda y: lambda x: x + y)(5), 8),
    "partial": (functools.partial(add, 10), 13),
    "builtin": (abs, 3),
    "class": (float, 3.0),
    "bound method": (Account(10).plus, 13),
    "class method": (Account.named, "Account 3"),
    "static method": (Account.double, 6),
    "instance": (Account(10), 7),
    "method of a builtin": ([0, 1, 2, 3].index, 3),
    "cached": (functools.lru_cache(inc), 4),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_anything_callable_can_be_spawned(session: mars.Session, kind: str):
    func, value = FUNCTIONS[kind]
    assert mr.spawn(func, args=(mr.spawn(int, args=("3",)),)).to_object() == value


def test_instance_of_a_class_of_ours_is_made(session: mars.Session):
    assert mr.spawn(Account, args=(mr.spawn(int, args=("3",)),)).to_object().balance == 3


def test_object_in_a_partial_is_no_argument(session: mars.Session):
    obj = mr.spawn(int)
    assert mr.spawn(functools.partial(given, obj)).to_object() == ((obj,), {})


def test_function_may_return_none(session: mars.Session):
    calls: list[None] = []
    nothing = mr.spawn(calls.append, args=(None,))
    assert mr.spawn(given, args=(nothing,)).to_object() == ((None,), {})
    assert nothing.fetch() is None
    assert nothing.execute().fetch() is None
    assert calls == [None]


def test_result_is_the_very_object_that_was_returned(session: mars.Session):
    value = threading.Lock()
    obj = mr.spawn(lambda: value).execute()
    assert obj.fetch() is value
    assert mr.spawn(lambda other: other is value, args=(obj,)).to_object() is True


# Errors.


class Unpicklable(Exception):
    def __init__(self, what: str, lock: Any) -> None:
        super().__init__(what)
        self.lock = lock


def raised_by(obj: mr.Object) -> BaseException:
    with pytest.raises(BaseException) as raised:
        obj.execute()
    return raised.value


def test_exception_that_cannot_be_pickled_arrives_itself(session: mars.Session):
    error = Unpicklable("what", threading.Lock())

    def fail() -> None:
        raise error

    with pytest.raises(TypeError):
        pickle.dumps(error)
    assert raised_by(mr.spawn(fail)) is error
    assert raised_by(mr.spawn(inc, args=(mr.spawn(fail),))) is error


def test_traceback_ends_in_the_line_of_the_function(session: mars.Session):
    def fail() -> None:
        raise KeyError("x")  # this line

    last = traceback.extract_tb(raised_by(mr.spawn(fail)).__traceback__)[-1]
    assert (last.name, last.line) == ("fail", 'raise KeyError("x")  # this line')


def test_cause_of_an_exception_is_kept(session: mars.Session):
    def fail() -> None:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            raise KeyError from error

    assert isinstance(raised_by(mr.spawn(fail)).__cause__, ZeroDivisionError)


def test_exception_has_a_note_that_names_function_and_object(session: mars.Session):
    def fail() -> None:
        raise KeyError

    obj = mr.spawn(fail)
    notes = raised_by(mr.spawn(inc, args=(obj,))).__notes__
    assert [obj.key in note and fail.__qualname__ in note for note in notes] == [True]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, ExceptionGroup])
def test_exceptions_of_every_kind_arrive(session: mars.Session, kind: type[BaseException]):
    error = kind("several", [ValueError()]) if kind is ExceptionGroup else kind("one")

    def fail() -> None:
        raise error

    assert raised_by(mr.spawn(fail)) is error


def test_call_with_wrong_arguments_fails_when_it_is_made(session: mars.Session):
    obj = mr.spawn(inc, args=(1, 2))
    assert isinstance(raised_by(obj), TypeError)


def test_after_an_error_other_objects_can_be_executed(session: mars.Session):
    with pytest.raises(ZeroDivisionError):
        mr.spawn(divmod, args=(1, 0)).execute()
    assert mr.spawn(inc, args=(1,)).to_object() == 2


# Functions that return objects.


def test_returned_object_is_resolved(session: mars.Session):
    obj = mr.spawn(lambda: mr.spawn(inc, args=(1,)))
    assert mr.spawn(inc, args=(obj,)).to_object() == 3
    assert obj.fetch() == 2


def test_returned_object_that_has_a_result_is_not_run_again(session: mars.Session):
    calls: list[int] = []
    inner = mr.spawn(lambda: calls.append(1) or "value").execute()
    assert mr.spawn(lambda: inner).to_object() == "value"
    assert calls == [1]


def test_returned_object_that_many_functions_return_runs_once(session: mars.Session):
    calls: list[int] = []
    inner = mr.spawn(lambda: calls.append(1) or object())
    values = mars.execute(*[mr.spawn(lambda: inner) for _ in range(50)], inner).fetch()
    assert calls == [1]
    assert len(set(map(id, values))) == 1


def test_returned_executable_tuple_is_resolved(session: mars.Session):
    obj = mr.spawn(lambda: mr.ExecutableTuple([mr.spawn(inc, args=(1,)), "x", mr.ExecutableTuple([mr.spawn(int)])]))
    assert mr.spawn(given, args=(obj,)).to_object() == (([2, "x", [0]],), {})
    assert obj.fetch() == [2, "x", [0]]


def test_returned_executable_tuple_of_a_named_tuple_becomes_that(session: mars.Session):
    value = mr.spawn(lambda: mr.ExecutableTuple(Pair(mr.spawn(int), 1))).to_object()
    assert type(value) is Pair
    assert value == Pair(0, 1)


def test_objects_inside_a_returned_list_stay_objects(session: mars.Session):
    """Only what is returned itself stands for a value."""
    inner = mr.spawn(int)
    assert mr.spawn(lambda: [inner]).to_object() == [inner]


def test_error_in_a_returned_object_is_the_functions_own(session: mars.Session):
    inner = mr.spawn(divmod, args=(1, 0))
    obj = mr.spawn(lambda: inner)
    notes = "\n".join(getattr(raised_by(obj), "__notes__", []))
    assert obj.key in notes
    assert inner.key in notes
    with pytest.raises(ValueError, match=obj.key):
        obj.fetch()


def countdown(n: int) -> Any:
    return n if n == 0 else mr.spawn(countdown, args=(n - 1,))


def test_ten_thousand_objects_that_return_each_other(one_worker: mars.Session):
    assert mr.spawn(countdown, args=(10_000,)).to_object() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_objects_that_return_each_other_grows_with_their_number_only():
    lines = run_well(
        """
        import mars, mars.remote as mr
        def countdown(n):
            return n if n == 0 else mr.spawn(countdown, args=(n - 1,))
        def peak():
            status = open("/proc/self/status").read()
            return int(status.split("VmHWM:")[1].split()[0])
        with mars.new_session(n_workers=1):
            mr.spawn(countdown, args=(100,)).execute()
            before = peak()
            mr.spawn(countdown, args=(10_000,)).execute()
            say((peak() - before) // 1024)
        """,
        within=50,
    )
    assert int(lines[0]) < 100  # MB; 10 KB for each


@pytest.mark.parametrize("n_workers", [1, 2])
def test_recursion_that_returns_objects_of_objects(n_workers: int):
    def fibonacci(n: int) -> Any:
        if n < 2:
            return n
        return mr.spawn(add, args=(mr.spawn(fibonacci, args=(n - 1,)), mr.spawn(fibonacci, args=(n - 2,))))

    with mars.new_session(n_workers=n_workers, default=False):
        assert mr.spawn(fibonacci, args=(12,)).to_object() == 144


def test_function_that_returns_its_own_object_is_refused(session: mars.Session):
    obj: mr.Object = mr.spawn(lambda: obj)
    error = raised_by(obj)
    assert isinstance(error, RuntimeError)
    assert str(error).startswith(f"{obj!r} waits for itself")


def test_functions_that_return_each_others_objects_are_refused(session: mars.Session):
    first: mr.Object = mr.spawn(lambda: second)
    second: mr.Object = mr.spawn(lambda: first)
    error = raised_by(first)
    assert isinstance(error, RuntimeError)
    assert "waits for itself" in str(error)


def test_function_that_executes_its_own_object_is_refused(session: mars.Session):
    obj: mr.Object = mr.spawn(lambda: obj.execute())
    error = raised_by(obj)
    assert isinstance(error, RuntimeError)
    assert str(error).startswith(f"{obj!r} waits for itself")


# Spawning, executing and fetching inside functions.


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("wait", [True, False])
def test_functions_spawn_execute_and_fetch_inside_each_other(n_workers: int, wait: bool):
    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        inner = mr.spawn(nested, args=(depth - 1,))
        if wait:
            inner.execute()
        else:
            inner.execute(wait=False).result()
        return inner.fetch() + 1

    with mars.new_session(n_workers=n_workers, default=False):
        assert mr.spawn(nested, args=(40,)).to_object() == 40


def test_tree_of_nested_executions_on_one_worker(one_worker: mars.Session):
    def leaves(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(mars.execute(*[mr.spawn(leaves, args=(depth - 1,)) for _ in range(3)]).fetch())

    assert mr.spawn(leaves, args=(5,)).to_object() == 3**5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="this CPython allows some 200 calls from C inside each other"
)
def test_memory_of_executions_inside_each_other_grows_with_their_number_only():
    lines = run_well(
        """
        import mars, mars.remote as mr
        sys.setrecursionlimit(100_000)
        def nested(n):
            return 0 if n == 0 else mr.spawn(nested, args=(n - 1,)).execute().fetch() + 1
        def peak():
            status = open("/proc/self/status").read()
            return int(status.split("VmHWM:")[1].split()[0])
        with mars.new_session(n_workers=1):
            mr.spawn(nested, args=(10,)).execute()
            before = peak()
            assert mr.spawn(nested, args=(800,)).execute().fetch() == 800
            say((peak() - before) // 1024)
        """,
        within=50,
    )
    assert int(lines[0]) < 100  # MB; over 100 KB for each


def test_execution_inside_a_function_uses_the_session_that_runs_it(session: mars.Session):
    inner = mr.spawn(mars.get_default_session)
    with mars.new_session(n_workers=1, default=False):
        found = mr.spawn(lambda: inner.execute() and mars.get_default_session()).execute(session=session)
    assert found.fetch() is session
    assert inner.fetch(session=session) is session


def test_objects_of_outside_are_found_inside_functions(session: mars.Session):
    """Executed before, executed now by another function, and not executed yet."""
    calls: list[str] = []
    before = mr.spawn(lambda: calls.append("before") or 1).execute()
    shared = mr.spawn(lambda: calls.append("shared") or 2)

    def use() -> int:
        return before.fetch() + shared.to_object()

    assert mars.execute(*[mr.spawn(use) for _ in range(20)]).fetch() == [3] * 20
    assert calls == ["before", "shared"]


def test_error_inside_nested_executions_can_be_caught_there(one_worker: mars.Session):
    def outer() -> str:
        try:
            mr.spawn(divmod, args=(1, 0)).execute()
        except ZeroDivisionError:
            return "caught"
        return "nothing raised"

    assert mr.spawn(outer).to_object() == "caught"


def test_spawn_itself_can_be_spawned(session: mars.Session):
    assert mr.spawn(mr.spawn, args=(inc, 4)).to_object() == 5
