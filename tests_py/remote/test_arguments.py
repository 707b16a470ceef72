"""Arguments of spawned functions: whatever there is to compute in them is found, and arrives as its value."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, NamedTuple

import dask
import pytest
from support import inc

import mars
import mars.remote as mr

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
dd = pytest.importorskip("dask.dataframe")

Pair = namedtuple("Pair", "first second")
Single = namedtuple("Single", "only")


class Typed(NamedTuple):
    first: Any
    second: Any = "default"


class OneOfTwo(Pair):
    """A named tuple that is made from other arguments than it has fields."""

    def __new__(cls, first: Any) -> OneOfTwo:
        return super().__new__(cls, first, "fixed")


@dataclass
class Plain:
    x: Any
    y: Any = "default"
    shared: ClassVar[str] = "class"


@dataclass(frozen=True)
class Frozen:
    x: Any
    y: Any = "default"


@dataclass(slots=True)
class Slotted:
    x: Any
    y: Any = "default"


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    x: Any
    y: Any = "default"


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class Everything:
    x: Any
    y: Any = "default"


@dataclass
class Late:
    x: Any
    made: Any = field(init=False)
    unset: Any = field(init=False)
    seed: InitVar[int] = 3

    def __post_init__(self, seed: int) -> None:
        self.made = [self.x, seed]


@dataclass
class Derived(Plain):
    z: Any = None


@dataclass
class Record(dict):
    """A dataclass that is a dict as well."""

    x: Any = None


class Tagged:
    tag: str


class TaggedList(list, Tagged):
    pass


class TaggedDict(dict, Tagged):
    pass


class TaggedSet(set, Tagged):
    pass


class TaggedTuple(tuple, Tagged):
    pass


class TaggedFrozenSet(frozenset, Tagged):
    pass


class Point(tuple):
    """A tuple that is made from two arguments."""

    def __new__(cls, x: Any, y: Any) -> Point:
        return super().__new__(cls, (x, y))


class Named(frozenset):
    """A frozenset that is made from two arguments."""

    def __new__(cls, name: str, items: Any) -> Named:
        return super().__new__(cls, items)


class Chatty(list):
    """A list that cannot be made without an argument."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what


def number(i: int) -> mr.Object:
    return mr.spawn(int, args=(str(i),))


def same(value: Any) -> Any:
    return value


def arrived(*args: Any) -> Any:
    """What a function is given as its only argument, or a tuple of all."""
    value = mr.spawn(lambda *values: values, args=args).to_object()
    return value[0] if len(args) == 1 else value


# Containers.

CONTAINERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "itself": (same, 7),
    "list": (lambda x: [1, x, "a"], [1, 7, "a"]),
    "tuple": (lambda x: (1, x), (1, 7)),
    "set": (lambda x: {1, x}, {1, 7}),
    "frozenset": (lambda x: frozenset({1, x}), frozenset({1, 7})),
    "dict value": (lambda x: {"a": x, 2: None}, {"a": 7, 2: None}),
    "dict key": (lambda x: {x: "a", 2: x}, {7: "a", 2: 7}),
    "tuple as dict key": (lambda x: {(x, 1): "a"}, {(7, 1): "a"}),
    "frozenset in a set": (lambda x: {frozenset({x})}, {frozenset({7})}),
    "named tuple": (lambda x: Pair(x, [x]), Pair(7, [7])),
    "named tuple of one": (Single, Single(7)),
    "typed named tuple": (Typed, Typed(7)),
    "named tuple with a constructor": (OneOfTwo, OneOfTwo(7)),
    "dataclass": (Plain, Plain(7)),
    "frozen dataclass": (Frozen, Frozen(7)),
    "dataclass with slots": (Slotted, Slotted(7)),
    "frozen dataclass with slots": (FrozenSlotted, FrozenSlotted(7)),
    "dataclass with everything": (lambda x: Everything(x=x), Everything(x=7)),
    "derived dataclass": (lambda x: Derived(1, x, {"z": x}), Derived(1, 7, {"z": 7})),
    "dataclass in a dataclass": (lambda x: Plain(Frozen(x)), Plain(Frozen(7))),
    "defaultdict": (lambda x: defaultdict(list, a=x), defaultdict(list, a=7)),
    "OrderedDict": (lambda x: OrderedDict(b=x, a=1), OrderedDict(b=7, a=1)),
    "Counter key": (lambda x: Counter({x: 3, "b": 1}), Counter({7: 3, "b": 1})),
    "Counter value": (lambda x: Counter(a=x), Counter(a=7)),
    "struct sequence": (lambda x: time.struct_time((x,) * 9), time.struct_time((7,) * 9)),
    "nested": (lambda x: [({"a": [Pair(x, {x})]},)], [({"a": [Pair(7, {7})]},)]),
    "executable tuple": (lambda x: mr.ExecutableTuple([x, 1]), [7, 1]),
    "executable tuple of a named tuple": (lambda x: mr.ExecutableTuple(Pair(x, 1)), Pair(7, 1)),
    "executable tuple in a dict": (lambda x: {"a": mr.ExecutableTuple([[x], 1])}, {"a": [[7], 1]}),
}


@pytest.mark.parametrize("where", ["args", "kwargs"])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_object_in_a_container_arrives_as_its_value(session: mars.Session, kind: str, where: str):
    make, expected = CONTAINERS[kind]
    given = make(number(7))
    obj = mr.spawn(same, args=(given,)) if where == "args" else mr.spawn(same, kwargs={"value": given})
    value = obj.to_object()
    assert type(value) is type(expected)
    assert value == expected


def test_order_of_dicts_is_kept(session: mars.Session):
    keys = [number(i) for i in (3, 1, 2)]
    assert list(arrived(dict.fromkeys(keys, 0))) == [3, 1, 2]
    assert list(arrived(OrderedDict.fromkeys(keys))) == [3, 1, 2]


def test_default_of_a_defaultdict_is_kept(session: mars.Session):
    value = arrived(defaultdict(list, a=number(7)))
    value["b"].append(1)
    assert value == {"a": 7, "b": [1]}


def test_values_that_are_equal_become_one_in_sets_and_keys(session: mars.Session):
    assert arrived({number(1), number(1)}) == {1}
    assert arrived({number(1): "a", number(1): "b"}) == {1: "b"}


def test_value_that_cannot_be_a_key_is_an_error_when_it_runs(session: mars.Session):
    obj = mr.spawn(same, args=({mr.spawn(list): 1},))
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        obj.execute()


def test_dataclass_keeps_what_is_no_field(session: mars.Session):
    given = Plain(number(7))
    given.extra = "extra"  # type: ignore[attr-defined]
    value = arrived(given)
    assert (value.x, value.extra, value.shared) == (7, "extra", "class")


def test_dataclass_keeps_fields_that_init_does_not_take(session: mars.Session):
    """And does not invent those that are not set; `__post_init__` is not called again."""
    value = arrived(Late(number(7), seed=5))
    assert (value.x, value.made) == (7, [7, 5])
    assert not hasattr(value, "unset")


def test_fields_of_a_dataclass_that_is_a_dict_arrive(session: mars.Session):
    given = Record(x=number(7))
    given["key"] = number(8)
    value = arrived(given)
    assert type(value) is Record
    assert (value.x, value["key"]) == (7, 8)


def test_dataclass_itself_is_no_container(session: mars.Session):
    assert arrived([Plain, number(1)]) == [Plain, 1]


@pytest.mark.parametrize("kind", [TaggedList, TaggedSet, TaggedTuple, TaggedFrozenSet])
def test_subclasses_keep_type_and_attributes(session: mars.Session, kind: Callable[[Any], Any]):
    given = kind([number(7)])
    given.tag = "tag"
    value = arrived(given)
    assert type(value) is kind
    assert value == kind([7])
    assert value.tag == "tag"


def test_subclass_of_dict_keeps_type_and_attributes(session: mars.Session):
    given = TaggedDict(a=number(7))
    given.tag = "tag"
    value = arrived(given)
    assert type(value) is TaggedDict
    assert (value, value.tag) == ({"a": 7}, "tag")


def test_subclass_of_list_with_its_own_constructor(session: mars.Session):
    given = Chatty("what")
    given.append(number(7))
    value = arrived(given)
    assert (type(value), value, value.what) == (Chatty, [7], "what")


def test_subclass_of_tuple_with_its_own_constructor(session: mars.Session):
    value = arrived(Point(number(1), 2))
    assert type(value) is Point
    assert tuple(value) == (1, 2)


def test_subclass_of_frozenset_with_its_own_constructor(session: mars.Session):
    value = arrived(Named("name", [number(1), 2]))
    assert type(value) is Named
    assert frozenset(value) == {1, 2}


# Identity.

SHARING: dict[str, Callable[[Any], Any]] = {
    "list": lambda x: [x],
    "tuple": lambda x: (x,),
    "dict": lambda x: {"a": x},
    "set": lambda x: {x},
    "named tuple": lambda x: Pair(x, 1),
    "dataclass": Plain,
    "subclass": lambda x: TaggedList([x]),
    "executable tuple": lambda x: mr.ExecutableTuple([x]),
}


@pytest.mark.parametrize("kind", SHARING)
def test_container_that_is_given_twice_arrives_as_one(session: mars.Session, kind: str):
    shared = SHARING[kind](number(7))
    first, (second, third) = mr.spawn(lambda a, b: (a, b), args=(shared, [shared, shared])).to_object()
    assert first is second is third
    assert first == arrived(SHARING[kind](number(7)))


def test_containers_that_are_equal_stay_apart(session: mars.Session):
    obj = number(7)
    first, second = arrived([[obj], [obj]])
    assert first == second == [7]
    assert first is not second


AROUND: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "list": (lambda x: [x], lambda x: x[0]),
    "tuple": (lambda x: (x,), lambda x: x[0]),
    "dict": (lambda x: {"a": x}, lambda x: x["a"]),
    "named tuple": (Single, lambda x: x.only),
    "dataclass": (Plain, lambda x: x.x),
}


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kind", AROUND)
def test_container_with_nothing_but_a_shared_one_in_it(session: mars.Session, kind: str, depth: int):
    """shared = [object]; f(shared, [shared]): the second holds no object but by way of the first."""
    wrap, unwrap = AROUND[kind]
    shared = [number(7)]
    around: Any = shared
    for _ in range(depth):
        around = wrap(around)
    first, second = mr.spawn(lambda a, b: (a, b), args=(shared, around)).to_object()
    for _ in range(depth):
        second = unwrap(second)
    assert first == [7]
    assert second is first


def test_container_with_nothing_but_a_shared_one_in_it_in_one_argument(session: mars.Session):
    shared = [number(7)]
    assert arrived([shared, [shared], ({"a": shared},)]) == [[7], [[7]], ({"a": [7]},)]


def test_executable_tuple_that_is_given_again_inside_another_container(session: mars.Session):
    both = mr.ExecutableTuple([number(1), 2])
    assert arrived(both, {"a": [both]}) == ([1, 2], {"a": [[1, 2]]})


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, [2, "a"]],
        lambda: ({"a": (1,)}, {2}),
        lambda: Pair(1, [2]),
        lambda: Plain([1]),
        lambda: TaggedList([[1]]),
        lambda: defaultdict(list, a=[1]),
        lambda: [object()],
        list,
        dict,
    ],
    ids=["list", "tuple", "named tuple", "dataclass", "subclass", "defaultdict", "opaque", "empty list", "empty dict"],
)
def test_container_without_objects_arrives_as_the_very_object(session: mars.Session, make: Callable[[], Any]):
    given = make()
    assert arrived(given) is given
    assert arrived([given, number(1)])[0] is given
    assert mr.spawn(same, kwargs={"value": given}).to_object() is given


def test_what_is_in_no_container_that_is_looked_into_arrives_as_it_is(session: mars.Session):
    """Generators, deques, arrays and other objects: as in Mars, and as in Dask."""

    class Custom:
        def __init__(self, x: Any) -> None:
            self.x = x

    obj = number(7)
    array = np.array([obj, 1], dtype=object)
    for given in (deque([obj]), Custom(obj), array, {"a": obj}.values(), (x for x in [obj])):
        assert arrived(given) is given
    assert array[0] is obj


def test_generator_is_used_up_by_the_function_alone(session: mars.Session):
    def count() -> Iterator[int]:
        started.append(1)
        yield from range(3)

    started: list[int] = []
    obj = mr.spawn(list, args=(count(),))
    assert started == []
    assert obj.to_object() == [0, 1, 2]


def test_fields_that_are_made_anew_whenever_they_are_read(session: mars.Session):
    """What was looked at may be gone, and its address another's, when the next is looked at."""

    class Boxed:
        def __set__(self, instance: Any, value: Any) -> None:
            instance.__dict__["x"] = value and value[0]

        def __get__(self, instance: Any, owner: type) -> Any:
            if instance is None:
                raise AttributeError
            return [instance.__dict__["x"]]

    @dataclass
    class Box:
        x: Any = Boxed()  # type: ignore[assignment] # noqa: RUF009

    boxes = [Box([number(i)]) for i in range(50)]
    assert [box.x for box in arrived(*boxes)] == [[i] for i in range(50)]


# Depth and size.


def test_deep_nesting(session: mars.Session):
    def depth(value: Any) -> int:
        levels = 0
        while isinstance(value, list):
            (value,) = value
            levels += 1
        assert value == 7
        return levels

    nested: Any = number(7)
    for _ in range(50_000):
        nested = [nested]
    assert mr.spawn(depth, args=(nested,)).to_object() == 50_000


@pytest.mark.parametrize("leaf", ["object", "plain"])
@pytest.mark.parametrize(
    "double",
    [
        lambda x: [x, x],
        lambda x: (x, x),
        lambda x: {1: x, 2: x},
        lambda x: Pair(x, x),
        lambda x: Plain(x, x),
        lambda x: TaggedList([x, x]),
    ],
    ids=["list", "tuple", "dict", "named tuple", "dataclass", "subclass"],
)
def test_shared_containers_of_forty_levels_are_linear(session: mars.Session, double: Callable[[Any], Any], leaf: str):
    """Two ways a level: 2**40 to the leaf, which no test would live to see."""

    def look(value: Any) -> tuple[int, Any]:
        containers = set()
        levels = 0
        while not isinstance(value, int):
            containers.add(id(value))
            levels += 1
            first, second = (
                value
                if isinstance(value, (list, tuple))
                else value.values()
                if isinstance(value, dict)
                else vars(value).values()
            )
            assert first is second
            value = first
        return len(containers), value

    nested: Any = number(7) if leaf == "object" else 7
    for _ in range(40):
        nested = double(nested)
    assert mr.spawn(look, args=(nested,)).to_object() == (40, 7)


def test_shared_executable_tuples_of_forty_levels_are_linear(session: mars.Session):
    def levels(value: Any) -> int:
        count = 0
        while isinstance(value, list):
            assert value[0] is value[1]
            value = value[0]
            count += 1
        return count

    nested: Any = number(7)
    for _ in range(40):
        nested = mr.ExecutableTuple([nested, nested])
    assert mr.spawn(levels, args=(nested,)).to_object() == 40


def test_large_containers(session: mars.Session):
    objects = [number(i) for i in range(10_000)]
    value = arrived({"list": objects, "set": set(objects), "dict": {obj: obj for obj in objects}})
    assert value["list"] == list(range(10_000))
    assert value["set"] == set(range(10_000))
    assert value["dict"] == {i: i for i in range(10_000)}


# Containers that contain themselves.


def cyclic(*items: Any) -> list:
    container: list[Any] = list(items)
    container.append(container)
    return container


def test_container_that_contains_itself_arrives_as_it_is(session: mars.Session):
    given = cyclic(1)
    assert mr.spawn(lambda value: value is given, args=(given,)).to_object() is True


@pytest.mark.parametrize("first", [True, False])
def test_container_that_contains_itself_beside_objects_arrives_as_it_is(session: mars.Session, first: bool):
    given = cyclic(1)
    args = (number(7), given) if first else (given, number(7))
    value = mr.spawn(lambda *values: [value is given for value in values], args=args).to_object()
    assert value == [not same for same in value[::-1]] == ([False, True] if first else [True, False])


def test_container_that_contains_itself_in_one_with_objects_arrives_as_it_is(session: mars.Session):
    given = cyclic(1)
    assert mr.spawn(lambda value: (value[0] is given, value[1]), args=([given, number(7)],)).to_object() == (True, 7)


def test_object_in_a_container_that_contains_itself_is_refused():
    for given in (cyclic(number(7)), {"a": cyclic(number(7))}, cyclic([number(7)])):
        with pytest.raises(RecursionError, match="a <class 'list'> contains itself"):
            mr.spawn(same, args=(given,))


# When arguments are looked at.


def test_container_with_objects_is_what_it_was_when_it_was_spawned(session: mars.Session):
    given = [number(1)]
    by_key = defaultdict(list, a=number(1))
    fields = Plain(number(1))
    objects = [mr.spawn(same, args=(container,)) for container in (given, by_key, fields)]
    given.append(number(2))
    by_key["b"] = number(2)
    fields.y = number(2)
    assert mars.execute(*objects).fetch() == [[1], {"a": 1}, Plain(1)]


def test_container_without_objects_is_what_it_is_when_the_function_runs(session: mars.Session):
    """It is handed over itself; what is put into it later is not looked at."""
    given: list[Any] = [1]
    obj = mr.spawn(same, args=(given,))
    late = number(2)
    given.append(late)
    value = obj.to_object()
    assert value is given
    assert value == [1, late]


def test_function_that_changes_its_arguments_changes_no_result(session: mars.Session):
    inner = number(7)
    given = [inner, [inner]]

    def change(value: list) -> list:
        value[1].append("more")
        value.clear()
        return value

    assert mr.spawn(change, args=(given,)).to_object() == []
    assert given == [inner, [inner]]
    assert mr.spawn(same, args=(given,)).to_object() == [7, [7]]


def test_function_that_fails_after_changing_its_arguments_gets_fresh_ones_the_next_time(session: mars.Session):
    seen: list[Any] = []

    def change(value: list, by_key: dict, fields: Plain) -> None:
        seen.append((list(value), dict(by_key), fields.x))
        value.append("more")
        by_key["more"] = 1
        fields.x = "changed"
        if len(seen) < 3:
            raise LookupError

    one = number(7)
    obj = mr.spawn(change, args=([one], TaggedDict(a=one), Plain(one)))
    for _ in range(2):
        with pytest.raises(LookupError):
            obj.execute()
    obj.execute()
    assert seen == [([7], {"a": 7}, 7)] * 3


# Dask collections.


COLLECTIONS: dict[str, Callable[[], Any]] = {
    "delayed": lambda: dask.delayed(inc)(1),
    "array": lambda: da.arange(4, chunks=2),
    "bag": lambda: db.from_sequence([1, 2, 3], npartitions=2),
    "item": lambda: db.from_sequence([1, 2, 3], npartitions=2).sum(),
    "frame": lambda: dd.from_pandas(pd.DataFrame({"a": [1, 2, 3, 4]}, index=[4, 3, 2, 1]), npartitions=2, sort=False),
}


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_collection_arrives_as_what_compute_gives(session: mars.Session, kind: str):
    given = COLLECTIONS[kind]()
    expected = given.compute(scheduler="sync")
    bare, (listed,) = arrived(given, [COLLECTIONS[kind]()])
    in_dict = arrived({"a": Plain((given,))})["a"].x[0]
    for value in (bare, listed, in_dict):
        assert type(value) is type(expected)
        if kind == "frame":
            pd.testing.assert_frame_equal(value, expected)
        else:
            np.testing.assert_equal(value, expected)


def test_collection_as_a_keyword_argument(session: mars.Session):
    assert mr.spawn(inc, kwargs={"x": dask.delayed(inc)(1)}).to_object() == 3


def test_collection_as_args_is_one_argument(session: mars.Session):
    assert mr.spawn(inc, args=dask.delayed(inc)(1)).to_object() == 3


def test_collection_that_is_given_twice_is_computed_once(session: mars.Session):
    calls: list[int] = []
    given = dask.delayed(lambda: calls.append(1) or object(), pure=False)()
    first, second = arrived(given, [given])
    assert first is second[0]
    assert calls == [1]


def test_collections_that_share_tasks_run_these_once(session: mars.Session):
    calls: list[int] = []
    base = dask.delayed(lambda: calls.append(1) or 1, pure=False)()
    assert arrived(base + 1, [base + 2]) == (2, [3])
    assert calls == [1]


def test_collection_is_computed_only_when_the_object_is_executed(session: mars.Session):
    calls: list[int] = []
    obj = mr.spawn(same, args=([dask.delayed(lambda: calls.append(1), pure=False)()],))
    assert calls == []
    obj.execute()
    assert calls == [1]


def test_collection_of_objects_arrives_resolved(session: mars.Session):
    assert arrived([dask.delayed(inc)(number(7))]) == [8]


def test_persisted_collection_arrives(session: mars.Session):
    array = da.arange(4, chunks=2).persist(scheduler="sync")
    assert arrived([array])[0].tolist() == [0, 1, 2, 3]


def test_class_of_collections_is_no_collection(session: mars.Session):
    assert arrived([da.Array, number(1)]) == [da.Array, 1]


@dataclass
class OwnCollection:
    """A Dask collection of one task, which is a dataclass."""

    number: int

    def __dask_graph__(self) -> dict:
        return {f"own-{self.number}": (inc, self.number)}

    def __dask_keys__(self) -> list[str]:
        return [f"own-{self.number}"]

    def __dask_postcompute__(self) -> tuple:
        return (lambda values: values[0]), ()

    __dask_optimize__ = None
    __dask_scheduler__ = staticmethod(dask.get)


class OwnTuple(tuple):
    """A Dask collection of one task, which is a tuple."""

    __dask_graph__ = lambda self: {self[0]: (inc, self[1])}  # noqa: E731
    __dask_keys__ = lambda self: [self[0]]  # noqa: E731
    __dask_postcompute__ = lambda self: ((lambda values: values[0]), ())  # noqa: E731
    __dask_optimize__ = None
    __dask_scheduler__ = staticmethod(dask.get)


@pytest.mark.parametrize("make", [lambda: OwnCollection(6), lambda: OwnTuple(("own", 6))], ids=["dataclass", "tuple"])
def test_collection_that_is_a_container_too_is_computed(session: mars.Session, make: Callable[[], Any]):
    assert dask.compute(make()) == (7,)
    assert arrived(make()) == 7
    assert arrived([make(), number(1)]) == [7, 1]
    assert mr.ExecutableTuple([make()]).to_object() == [7]
