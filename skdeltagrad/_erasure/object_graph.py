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
from collections.abc import Iterator
from typing import Any

import numpy as np

_LEAVES = (
    type(None), type(Ellipsis), bool, int, float, complex, str, range, type,
    types.ModuleType, types.CodeType, np.number, np.bool_, np.str_, np.datetime64,
    np.dtype, np.ufunc,
)  # fmt: skip
_NUMBERS = (int, float, np.integer, np.floating)
_SEQUENCES = (list, tuple, collections.deque)
_SETS = (set, frozenset)

# What a memoryview may be made of for NumPy to read it; the rest is read as bytes.
_FORMATS = frozenset("@=<>!?cbBhHiIlLqQnNefdgZO")

# A function leads from here to its module, which is not part of the object.
_NOT_OWNED = frozenset({"__globals__", "__builtins__"})

# Mathematics: shorter sequences of numbers cannot hold a row with enough distinct
# values.
_MIN_NUMBERS = 4


def iter_objects(root: Any, name: str = "estimator") -> Iterator[tuple[str, Any]]:
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
        stack += [part for part in parts(place, obj) if not _is_leaf(part[1])][::-1]


def iter_arrays(root: Any, name: str = "estimator") -> Iterator[tuple[str, np.ndarray]]:
    """Yield every array of numbers reachable from `root`, and its place."""
    for place, obj in iter_objects(root, name):
        for array in arrays_in(obj):
            yield place, array


def _is_leaf(obj):
    # Not isinstance: it asks the object for its `__class__`, maybe a property.
    if issubclass(type(obj), _LEAVES):
        return True
    if type(obj) is not dict or type(obj.get("__name__")) is not str:
        return False
    module = sys.modules.get(obj["__name__"])
    return module is not None and vars(module) is obj


# ---------------------------------------------------------------------------
# From an object to its parts
# ---------------------------------------------------------------------------


def parts(place: str, obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `obj` refers to, numbers and strings included, and where."""
    # What is reached by two ways is named after the first: short names come first.
    kind = type(obj)
    if _is_frame(kind):  # its rows may lie across several blocks
        yield f"{place}.to_numpy()", obj.to_numpy()
    try:
        namespace = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        namespace = {}
    for name, value in list(namespace.items()):
        yield f"{place}.{name}", value
    for slot in _slots(kind):  # type: ignore[arg-type]
        try:
            yield f"{place}.{slot.__name__}", slot.__get__(obj)
        except AttributeError:  # a slot that was never set
            continue
    yield from _contents(place, obj, kind)


def _is_frame(kind):
    package = kind.__module__.partition(".")[0]
    return package in ("pandas", "polars") and kind.__name__ in ("DataFrame", "Series")


@functools.lru_cache(maxsize=1024)
def _slots(kind):
    """Return the slots of a class and of its bases, compiled ones included."""
    return [
        member
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name not in _NOT_OWNED
    ]


def _contents(place, obj, kind):
    """Yield what an object of a built-in or compiled type contains."""
    if issubclass(kind, (np.ndarray, np.void)):
        for field in obj.dtype.names or ():
            yield f"{place}[{field!r}]", obj[field]
        if obj.dtype == object:
            flat = "" if obj.ndim == 1 else ".flat"
            for i, value in enumerate(np.asarray(obj).flat):
                yield f"{place}{flat}[{i}]", value
        # A view may show a part only of a buffer that holds more.
        yield f"{place}.base", obj.base
    elif issubclass(kind, _SEQUENCES):
        names = getattr(kind, "_fields", None)  # of a namedtuple
        for i, value in enumerate(_elements(obj)):
            yield f"{place}[{i}]" if names is None else f"{place}.{names[i]}", value
    elif issubclass(kind, _SETS):
        for i, value in enumerate(_elements(obj)):
            yield f"list({place})[{i}]", value
    elif issubclass(kind, dict):
        for i, (key, value) in enumerate(list(dict.items(obj))):
            yield f"list({place})[{i}]", key
            yield f"{place}[{_key_text(key)}]", value
    elif issubclass(kind, types.MappingProxyType):
        yield f"dict({place})", dict(obj)
    elif issubclass(kind, types.FunctionType):
        yield f"{place}.__defaults__", obj.__defaults__
        yield f"{place}.__kwdefaults__", obj.__kwdefaults__
    elif issubclass(kind, types.CellType):
        try:
            yield f"{place}.cell_contents", obj.cell_contents
        except ValueError:  # an empty cell
            return
    elif issubclass(kind, memoryview):
        yield f"{place}.obj", obj.obj
    elif _is_compiled(kind) and _memory_of(obj) is None:
        # Such an object, a KDTree for instance, keeps its data where no attribute
        # leads to. It hands them out to be pickled.
        try:
            reduced = obj.__reduce_ex__(4)
        except Exception:  # locks, files, ...: anything may be raised, all mean no
            return
        if isinstance(reduced, tuple):
            for i in range(1, min(len(reduced), 3)):
                yield f"{place}.__reduce_ex__(4)[{i}]", reduced[i]


def _elements(values):
    """Iterate over what is stored, whatever a subclass makes of iteration."""
    kinds = (k for k in _SEQUENCES + _SETS if issubclass(type(values), k))
    return next(kinds).__iter__(values)


def _key_text(key):
    # The repr of anything else may be long, or even run code of the object.
    is_plain = all(_is_leaf(part) for part in (key if type(key) is tuple else (key,)))
    return reprlib.repr(key) if is_plain else f"<{type(key).__name__}>"


def _is_compiled(kind):
    """Tell whether a class has compiled code that hands out what to pickle."""
    hooks = ("__reduce_ex__", "__reduce__", "__getstate__")
    own = [
        getattr(kind, h) for h in hooks if getattr(kind, h) is not getattr(object, h)
    ]
    return any(not isinstance(hook, types.FunctionType) for hook in own)


# ---------------------------------------------------------------------------
# From an object to the numbers it holds
# ---------------------------------------------------------------------------


def arrays_in(obj: Any) -> Iterator[np.ndarray]:
    """Yield the numbers that an object holds itself, as arrays of any shape.

    Numeric arrays are yielded as they are, without a copy. Sequences, the values of
    dicts and object arrays that hold at least four numbers are yielded as float64
    arrays, with NaN in place of what is not a number. Raw memory (bytes, packed
    records, ...) is yielded as uint8 arrays.
    """
    kind = type(obj)
    if issubclass(kind, _SEQUENCES):
        yield from _array_of_numbers(list(_elements(obj)))
        return
    if issubclass(kind, dict):
        yield from _array_of_numbers(list(dict.values(obj)))
        return
    if not issubclass(kind, (np.ndarray, np.void)):
        obj = _memory_of(obj)
        if obj is None:
            return
    array = np.asarray(obj)
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
        # Text and records: numbers may stand side by side in the memory. (What is not
        # contiguous is a view, and the traversal enters its base as well.)
        yield array.reshape(-1).view(np.uint8)


def _array_of_numbers(values):
    array = np.fromiter(map(_as_float, values), dtype=np.float64, count=len(values))
    if np.count_nonzero(~np.isnan(array)) >= _MIN_NUMBERS:
        yield array


def _as_float(value):
    if not issubclass(type(value), _NUMBERS):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # an int beyond the floats
        return np.nan


def _memory_of(obj):
    try:
        memory = memoryview(obj)
    except (TypeError, ValueError, BufferError):
        return None  # not a buffer, or one that was closed
    if set(memory.format) <= _FORMATS:
        return memory
    return memory.cast("B") if memory.c_contiguous else None
