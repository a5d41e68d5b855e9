"""Everything an object holds: a traversal of plain Python and NumPy objects.

The traversal reads what is stored and computes nothing: properties are never
triggered, and what is not stored by the instance itself (classes, modules, the
globals of a function) is not entered.
"""

import collections
import functools
import reprlib
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_Part = tuple[str, Any]

_LEAVES = (
    type(None),
    type(Ellipsis),
    bool,
    int,
    float,
    complex,
    str,
    range,
    type,
    types.ModuleType,
    types.CodeType,
    np.number,
    np.bool_,
    np.str_,
    np.datetime64,
    np.dtype,
    np.ufunc,
)
_NUMBERS = (int, float, np.integer, np.floating)
_SEQUENCES = (list, tuple, collections.deque)
_SETS = (set, frozenset)

# What a memoryview may be made of for NumPy to read it; the rest is read as bytes.
_FORMATS = frozenset("@=<>!?cbBhHiIlLqQnNefdgZO")

# A function leads from here to its module, which is not part of the object.
_NOT_OWNED = frozenset({"__globals__", "__builtins__"})

# Shorter sequences of numbers are parameters rather than data.
_MIN_NUMBERS = 4


def iter_objects(root: Any, name: str = "estimator") -> Iterator[_Part]:
    """Yield every object reachable from `root`, each one once.

    Parameters
    ----------
    root : object
        Where to start.
    name : str, default="estimator"
        What to call `root` in the places.

    Yields
    ------
    place : str
        How to get to the object, written like Python.
    obj : object
        The object. Numbers, strings, classes and modules are left out.
    """
    # The objects themselves are kept, so that the id of a temporary one is not
    # given to another.
    seen: dict[int, Any] = {}
    stack = [] if _is_leaf(root) else [(name, root)]
    while stack:
        place, obj = stack.pop()
        if id(obj) in seen:
            continue
        seen[id(obj)] = obj
        yield place, obj
        parts = [part for part in _parts(place, obj) if not _is_leaf(part[1])]
        stack.extend(reversed(parts))


def iter_arrays(root: Any, name: str = "estimator") -> Iterator[tuple[str, np.ndarray]]:
    """Yield every array of numbers reachable from `root`.

    Parameters
    ----------
    root : object
        Where to start.
    name : str, default="estimator"
        What to call `root` in the places.

    Yields
    ------
    place : str
        How to get to the array, written like Python.
    array : ndarray of any shape
        Numeric arrays are yielded as they are, without a copy. Sequences, the
        values of dicts and object arrays that hold at least four numbers are
        yielded as float64 arrays, with NaN in place of what is not a number.
        Raw memory (bytes, packed records, ...) is yielded as uint8 arrays.
    """
    for place, obj in iter_objects(root, name):
        kind = type(obj)
        if issubclass(kind, (np.ndarray, np.void)):
            arrays = _arrays_of_array(np.asarray(obj))
        elif issubclass(kind, _SEQUENCES):
            arrays = _array_of_numbers(list(_elements(obj)))
        elif issubclass(kind, dict):
            arrays = _array_of_numbers(list(dict.values(obj)))
        else:
            arrays = _array_of_buffer(obj)
        for array in arrays:
            yield place, array


def _is_leaf(obj: Any) -> bool:
    # Not isinstance: it asks the object for its `__class__`, maybe a property.
    return issubclass(type(obj), _LEAVES) or _is_namespace(obj)


def _is_namespace(obj: Any) -> bool:
    """Tell whether `obj` is the dict of a module."""
    if type(obj) is not dict or type(obj.get("__name__")) is not str:
        return False
    module = sys.modules.get(obj["__name__"])
    return module is not None and vars(module) is obj


# ---------------------------------------------------------------------------
# From an object to its parts
# ---------------------------------------------------------------------------


def _parts(place: str, obj: Any) -> Iterator[_Part]:
    """Yield the objects that `obj` refers to."""
    # What is reached by two ways is named after the first: short names come first.
    yield from _frame_values(place, obj)
    yield from _attributes(place, obj)
    for kinds, parts_of in _PARTS_OF:
        if issubclass(type(obj), kinds):
            yield from parts_of(place, obj)
            return
    yield from _compiled_state(place, obj)


def _attributes(place: str, obj: Any) -> Iterator[_Part]:
    """Yield what is in the `__dict__` and in the slots of `obj`."""
    try:
        namespace = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        namespace = {}
    for name, value in list(namespace.items()):
        yield f"{place}.{name}", value
    for slot in _slots(type(obj)):
        try:
            value = slot.__get__(obj)
        except AttributeError:  # a slot that was never set
            continue
        yield f"{place}.{slot.__name__}", value


@functools.lru_cache(maxsize=1024)
def _slots(kind: type) -> list[types.MemberDescriptorType]:
    """List the slots of a class and of its bases, compiled ones included."""
    return [
        member
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name not in _NOT_OWNED
    ]


def _compiled_state(place: str, obj: Any) -> Iterator[_Part]:
    """Yield what an object of a compiled class hands out to be pickled.

    Such an object, a KDTree for instance, keeps its data where no attribute
    leads to.
    """
    hooks = [
        (getattr(type(obj), hook), getattr(object, hook))
        for hook in ("__reduce_ex__", "__reduce__", "__getstate__")
    ]
    compiled = any(
        own is not inherited and not isinstance(own, types.FunctionType)
        for own, inherited in hooks
    )
    if not compiled or _memory_of(obj) is not None:
        return
    try:
        reduced = obj.__reduce_ex__(4)
    except Exception:  # locks, files, ...: anything may be raised, all mean no
        return
    if isinstance(reduced, tuple):
        for i in range(1, min(len(reduced), 3)):
            yield f"{place}.__reduce_ex__(4)[{i}]", reduced[i]


def _array_parts(place: str, array: np.ndarray) -> Iterator[_Part]:
    if array.dtype.names is not None:
        for field in array.dtype.names:
            yield f"{place}[{field!r}]", array[field]
    elif array.dtype == object:
        flat = "" if array.ndim == 1 else ".flat"
        for i, value in enumerate(np.asarray(array).flat):
            yield f"{place}{flat}[{i}]", value
    # A view may show a part only of a buffer that holds more.
    yield f"{place}.base", array.base


def _elements(values: Iterable[Any]) -> Iterator[Any]:
    """Iterate over what is stored, whatever a subclass makes of iteration."""
    for kind in _SEQUENCES + _SETS:
        if issubclass(type(values), kind):
            return kind.__iter__(values)
    raise TypeError(f"no known collection: {type(values).__name__}")


def _sequence_parts(place: str, values: Iterable[Any]) -> Iterator[_Part]:
    names = getattr(type(values), "_fields", None)  # of a namedtuple
    for i, value in enumerate(_elements(values)):
        yield f"{place}[{i}]" if names is None else f"{place}.{names[i]}", value


def _set_parts(place: str, values: Iterable[Any]) -> Iterator[_Part]:
    for i, value in enumerate(_elements(values)):
        yield f"list({place})[{i}]", value


def _dict_parts(place: str, mapping: dict) -> Iterator[_Part]:
    for i, (key, value) in enumerate(list(dict.items(mapping))):
        yield f"list({place})[{i}]", key
        yield f"{place}[{_key_text(key)}]", value


def _proxy_parts(place: str, proxy: types.MappingProxyType) -> Iterator[_Part]:
    yield f"dict({place})", dict(proxy)


def _key_text(key: Any) -> str:
    parts = key if type(key) is tuple else (key,)
    # The repr of anything else may be long, or even run code of the object.
    plain = all(_is_leaf(part) for part in parts)
    return reprlib.repr(key) if plain else f"<{type(key).__name__}>"


def _function_parts(place: str, function: types.FunctionType) -> Iterator[_Part]:
    yield f"{place}.__defaults__", function.__defaults__
    yield f"{place}.__kwdefaults__", function.__kwdefaults__


def _cell_parts(place: str, cell: types.CellType) -> Iterator[_Part]:
    try:
        yield f"{place}.cell_contents", cell.cell_contents
    except ValueError:  # an empty cell
        return


def _memory_parts(place: str, view: memoryview) -> Iterator[_Part]:
    yield f"{place}.obj", view.obj


def _frame_values(place: str, obj: Any) -> Iterator[_Part]:
    """Yield the values of a dataframe, whose rows may lie across its blocks."""
    kind = type(obj)
    package = kind.__module__.partition(".")[0]
    if package in ("pandas", "polars") and kind.__name__ in ("DataFrame", "Series"):
        yield f"{place}.to_numpy()", obj.to_numpy()


_PARTS_OF = (
    ((np.ndarray, np.void), _array_parts),
    (_SEQUENCES, _sequence_parts),
    (_SETS, _set_parts),
    (dict, _dict_parts),
    (types.MappingProxyType, _proxy_parts),
    (types.FunctionType, _function_parts),
    (types.CellType, _cell_parts),
    (memoryview, _memory_parts),
)


# ---------------------------------------------------------------------------
# From an object to the numbers it holds
# ---------------------------------------------------------------------------


def _arrays_of_array(array: np.ndarray) -> Iterator[np.ndarray]:
    if array.dtype.kind in "biufc":
        yield array
    elif array.dtype == object:
        for numbers in _array_of_numbers(array.reshape(-1).tolist()):
            yield numbers.reshape(array.shape)
    elif (
        array.dtype.kind in "VS"
        and not array.dtype.hasobject
        and array.flags.c_contiguous
        and array.nbytes
    ):
        # Text and records: numbers may stand side by side in the memory. (What
        # is not contiguous is a view, and its base is walked as well.)
        yield array.reshape(-1).view(np.uint8)


def _array_of_numbers(values: list[Any]) -> Iterator[np.ndarray]:
    array = np.fromiter(map(_as_float, values), dtype=np.float64, count=len(values))
    if np.count_nonzero(~np.isnan(array)) >= _MIN_NUMBERS:
        yield array


def _as_float(value: Any) -> float:
    if not issubclass(type(value), _NUMBERS):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # an int beyond the floats
        return np.nan


def _array_of_buffer(obj: Any) -> Iterator[np.ndarray]:
    memory = _memory_of(obj)
    if memory is not None:
        yield from _arrays_of_array(np.asarray(memory))


def _memory_of(obj: Any) -> memoryview | None:
    try:
        memory = memoryview(obj)
    except (TypeError, ValueError, BufferError):
        return None  # not a buffer, or one that was closed
    if set(memory.format) <= _FORMATS:
        return memory
    return memory.cast("B") if memory.c_contiguous else None
