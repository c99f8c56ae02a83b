"""Pickles as descriptions: what would be built is written down, nothing is imported, called or built.

A pickle is a program for a stack machine; Python's own reader calls whatever the program names. Here a name is kept as text,
a call as its name with its arguments. Arrays are read from their bytes, after dtype, shape and length were compared.
The operations are those of protocols 0 to 5 (`pickletools`, PEP 3154 and 574).
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from phr.errors import CorruptFileError

MOST_OPERATIONS = 1_000_000
"""A pickle of settings has thousands; each may make one object."""
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Name:
    """A module's attribute, which is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class Described:
    """An object that is not built: the callable's name, its arguments, and what is added afterwards."""

    made_by: Any
    """A `Name`, or what stands in its place."""
    arguments: tuple[Any, ...] = ()
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    """What `obj[key] = value` would set."""
    items: list[Any] = field(default_factory=list)
    """What `append`, `extend` or `add` would add."""

    @property
    def maker(self) -> str:
        """The callable's name, empty where something else stands in its place."""
        return str(self.made_by) if isinstance(self.made_by, Name) else ""

    def __repr__(self) -> str:  # nested to any depth, so it is not spelled out
        return f"<{self.maker or 'described'}>"


PERSISTENT = Name("", "persistent")
"""Stands for what makes objects of persistent ids."""


class _Mark:
    """Where a collection begins on the stack."""


_MARK = _Mark()
_KEYS = (str, bytes, bool, type(None), Name)
_LARGEST_KEY = 1 << 60
"""Keys are text and the like, and numbers below this: tuples are hashed to any depth, larger numbers may share a hash."""


_NEW = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__")
"""How protocols before 2 write that an object is to be made without arguments of its own: the class is the first."""


def _is_key(key: Any) -> bool:
    return isinstance(key, _KEYS) or (type(key) is int and abs(key) < _LARGEST_KEY)


def shown(value: Any) -> str:
    """Return a short text of any described value, for a message: what is nested, or very long, is named by its kind."""
    if isinstance(value, Name | Described):
        return f"{value!s:.80}"
    is_short = isinstance(value, str | float | bytes | None) or (isinstance(value, int) and abs(value) < _LARGEST_KEY)
    return f"{value!r:.80}" if is_short else type(value).__name__


class _Machine:
    """The stack and the memo; one method for each kind of operation."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes | io.BufferedIOBase) -> Any:
        """Return what the pickle describes; ValueError or IndexError if it is broken."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(cast("bytes | IO[bytes]", content))):
            if count >= MOST_OPERATIONS:
                raise ValueError(f"it has more than {MOST_OPERATIONS:,} operations")
            name = operation.name
            if name == "STOP":
                return self.pop()
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _LITERALS:
                self.stack.append(argument)
            elif (do := _OPERATIONS.get(name)) is not None:
                do(self, argument)
            else:  # the extension registry, buffers outside the file
                raise ValueError(f"it refers to something outside ({name})")
        raise ValueError("it has no end")

    def pop(self) -> Any:
        """Take the top of the stack, which must be a value."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def top(self) -> Any:
        """Return the top of the stack, which must be a value."""
        value = self.stack[-1]
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_mark(self) -> list[Any]:
        """Take everything above the latest mark, and the mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise ValueError("a mark is missing")

    def drop(self, _argument: Any) -> None:
        self.stack.pop()  # a mark too

    def tuple_of(self, n: int) -> None:
        values = [self.pop() for _ in range(n)]
        self.stack.append(tuple(reversed(values)))

    def build(self, _argument: Any) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Described):
            raise ValueError(f"a {type(target).__name__} takes no state")
        target.state = state

    def call(self, made_by: Any, arguments: Any, state: Any = None) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("arguments are not a tuple")
        if isinstance(made_by, Name) and str(made_by) in _NEW and arguments and isinstance(arguments[0], Name):
            made_by, arguments = arguments[0], ()
        self.stack.append(Described(made_by, arguments, state))

    def reduce(self, _argument: Any) -> None:
        arguments = self.pop()
        self.call(self.pop(), arguments)

    def new_with_keywords(self, _argument: Any) -> None:
        keywords, arguments = self.pop(), self.pop()
        self.call(self.pop(), arguments, keywords)

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(Name(module, name))

    def named_on_stack(self, _argument: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("a name is not text")
        self.stack.append(Name(module, name))

    def outside(self, _argument: Any) -> None:
        """Something that the file's format keeps elsewhere, as torch does with numbers: its id is the argument."""
        self.call(PERSISTENT, (self.pop(),))

    def instance(self, argument: str) -> None:
        arguments = tuple(self.pop_mark())
        self.named(argument)
        self.call(self.pop(), arguments)

    def object(self, _argument: Any) -> None:
        made_by, *arguments = self.pop_mark()
        self.call(made_by, tuple(arguments))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list | Described):
            raise ValueError(f"a {type(target).__name__} takes no items")
        (target if isinstance(target, list) else target.items).extend(values)

    def set(self, pairs: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict | Described) or len(pairs) % 2:
            raise ValueError(f"a {type(target).__name__} takes no entries, or a value is missing")
        entries = target if isinstance(target, dict) else target.entries
        entries.update((key, value) for key, value in zip(pairs[::2], pairs[1::2], strict=True) if _is_key(key))

    def pair(self, _argument: Any) -> None:
        value = self.pop()
        self.set([self.pop(), value])

    def dictionary(self, _argument: Any) -> None:
        pairs = self.pop_mark()
        self.stack.append({})
        self.set(pairs)

    def put(self, place: int) -> None:
        self.memo[place] = self.top()

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise ValueError(f"it remembers nothing at {place}")
        self.stack.append(self.memo[place])


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple, "EMPTY_SET": list, "MARK": lambda: _MARK,
}  # fmt: skip
"""A set is kept as a list: its hashes would descend into the members."""
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT",
    "BINFLOAT",
}  # fmt: skip
_OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "POP": _Machine.drop,
    "POP_MARK": lambda m, a: m.pop_mark(),
    "DUP": lambda m, a: m.stack.append(m.top()),
    "TUPLE1": lambda m, a: m.tuple_of(1),
    "TUPLE2": lambda m, a: m.tuple_of(2),
    "TUPLE3": lambda m, a: m.tuple_of(3),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.pop_mark())),
    "LIST": lambda m, a: m.stack.append(m.pop_mark()),
    "FROZENSET": lambda m, a: m.stack.append(m.pop_mark()),
    "APPEND": lambda m, a: m.append([m.pop()]),
    "APPENDS": lambda m, a: m.append(m.pop_mark()),
    "ADDITEMS": lambda m, a: m.append(m.pop_mark()),
    "DICT": _Machine.dictionary,
    "SETITEM": _Machine.pair,
    "SETITEMS": lambda m, a: m.set(m.pop_mark()),
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "INST": _Machine.instance,
    "OBJ": _Machine.object,
    "BUILD": _Machine.build,
    "PERSID": lambda m, a: m.call(PERSISTENT, (a,)),
    "BINPERSID": _Machine.outside,
    "READONLY_BUFFER": lambda m, a: None,
    "MEMOIZE": lambda m, a: m.put(len(m.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
}


def describe_pickle(content: bytes | io.BufferedIOBase, name: str) -> Any:
    """Return what a pickle describes: plain values, tuples, lists (sets too), dicts, `Name`s and `Described` objects.

    An open file is left behind the pickle. CorruptFileError if it is broken, or has too many operations.
    """
    try:
        return _Machine().run(content)
    except (ValueError, IndexError, OverflowError, UnicodeError) as error:
        raise CorruptFileError(f"{name} is not a readable pickle ({error})") from error


_MAKERS = {  # numpy 1 and 2
    f"numpy.{core}.{module}.{name}": name
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}
_DTYPE = re.compile(r"([fiu][1248]|b1)")


def array_of(value: Any) -> NDArray[Any]:
    """Return a copy of the numpy array or scalar that is described; ValueError if it is none, or claims what it lacks."""
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < _LARGEST_KEY):
        return np.array(value)
    maker = _MAKERS.get(value.maker) if isinstance(value, Described) else None
    order: Any = "C"
    match maker, value:
        case "_reconstruct", Described(state=(_, shape, dtype, fortran, content)):
            order = "F" if fortran is True else "C"
        case "_frombuffer", Described(arguments=(content, dtype, shape, order)):
            pass
        case "scalar", Described(arguments=(dtype, content)):
            shape = ()
        case _:
            raise ValueError("an array of numbers was expected")
    kind, content = _dtype_of(dtype), _bytes_of(content)
    if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < _LARGEST_KEY for side in shape):
        raise ValueError("the shape of an array is not a row of whole numbers")
    if len(shape) > _MOST_DIMENSIONS or math.prod(shape) * kind.itemsize != len(content) or order not in ("C", "F"):
        raise ValueError(f"an array claims the shape {shape[:_MOST_DIMENSIONS]} of {kind}, and has {len(content):,} bytes")
    return np.frombuffer(content, kind).reshape(shape, order=order).astype(kind.newbyteorder("="))


def dtype_name(value: Any) -> str:
    """Return the name of a described dtype, as "float32"; ValueError if it is not one of plain numbers."""
    return str(_dtype_of(value).newbyteorder("="))


def _dtype_of(value: Any) -> np.dtype[Any]:
    code = value.arguments[0] if isinstance(value, Described) and value.maker == "numpy.dtype" and value.arguments else None
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise ValueError("the dtype of an array is not one of plain numbers")
    order: Any = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "="
    if order not in ("<", ">", "|", "="):
        raise ValueError("the byte order of an array is unknown")
    return np.dtype(code).newbyteorder(order)


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, Described):  # bytes before protocol 3
        match value.maker, value.arguments:
            case "_codecs.encode", (str(text), "latin1"):
                return text.encode("latin-1")
            case "__builtin__.bytes" | "builtins.bytes", ():
                return b""
    if not isinstance(value, bytes | bytearray):
        raise ValueError("the numbers of an array are not bytes")
    return bytes(value)
