"""Ways to break files: bytes, values of JSON, members of archives, arrays, tensors, opcodes of pickles, words of YAML."""

from __future__ import annotations

import copy
import io
import json
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Damage = Callable[[bytes, random.Random], bytes]


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with one accident: cut, flipped, overwritten, left out, doubled, swapped, prolonged."""
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 64, 1024))
    middle = data[at : at + length]
    match rng.randrange(8):
        case 0:
            return data[:at]
        case 1 if middle:
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(len(middle)) + data[at + length :]
        case 3:
            return data[:at] + bytes([rng.choice((0, 255))]) * len(middle) + data[at + length :]
        case 4:
            return data[:at] + data[at + length :]
        case 5:
            return data[: at + length] + middle + data[at + length :]
        case 6:
            return data[at:] + data[:at]
    return data + rng.randbytes(length)


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -1e308, 10**30, 2**63, "", "x", "x" * 5000, "\x1b[2J\x07", "../../up", "\u202e",
    "\ud800", "1", [], {}, [[]], [None], {"x": None}, [0] * 1000, "float64", "object", "nan", "/dev/zero",
    float("nan"), float("inf"),
)  # fmt: skip


def forged_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON file with one value of another type or size, without an entry, with one more, or with one twice."""
    values = json.loads(data)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            visit(value[key])

    visit(values)
    if not places:
        return json.dumps(rng.choice(STRANGE)).encode()
    where, key = rng.choice(places)
    match rng.randrange(6):
        case 0 if isinstance(where, dict):
            del where[key]
        case 1 if isinstance(where, dict):
            where[rng.choice(("more", "", "__class__", "\x1b"))] = rng.choice(STRANGE)
        case 2 if isinstance(where, dict):
            text = json.dumps({key: rng.choice(STRANGE)})[1:-1]
            return json.dumps(values).replace("{", "{" + text + ",", 1).encode()
        case 3:
            other, its = rng.choice(places)
            where[key] = copy.deepcopy(other[its])
        case 4 if isinstance(where[key], int | float):
            where[key] = where[key] * rng.choice((-1, 0, 2, 0.5, 1e9, 10**12)) + rng.choice((0, 1, -1))
        case _:
            where[key] = rng.choice(STRANGE)
    return json.dumps(values).encode()


def forged_lines(data: bytes, rng: random.Random) -> bytes:
    """A file of JSON lines with a forged, a foreign, a doubled or a missing one."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[at] = forged_json(lines[at], rng) + b"\n"
        case 1:
            lines[at] = json.dumps(rng.choice(STRANGE)).encode() + b"\n"
        case 2:
            lines.insert(at, lines[at])
        case _:
            del lines[at]
    return b"".join(lines)


def forged_zip(inner: Damage) -> Damage:
    """An archive with one member changed by `inner`, renamed, doubled, left out, or that claims another size."""

    def forge(data: bytes, rng: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        at = rng.randrange(len(members))
        name, content = members[at]
        match rng.randrange(8):
            case 0:
                members[at] = rng.choice((name + "x", "../" + name, "/" + name, name.upper(), "")), content
            case 1:
                members.append((name, inner(content, rng) if content else b"x"))
            case 2:
                del members[at]
            case 3:
                members[at] = name, members[rng.randrange(len(members))][1]
            case _:
                members[at] = name, inner(content, rng) if content else b"x"
        out, packed = io.BytesIO(), rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(out, "w", packed) as archive:
            for name, content in members:
                archive.writestr(name or "x", content)
        return out.getvalue()

    return forge


def forged_array(data: bytes, rng: random.Random) -> bytes:
    """An .npy file with other numbers, another type, another shape, or a header that claims what is not there."""
    array = np.load(io.BytesIO(data))
    flat = array.ravel()
    with np.errstate(all="ignore"):
        match rng.randrange(7):
            case 0:
                array = array.astype(rng.choice(("complex64", "float16", "int8", "U3", "bool", "uint64", "float64", ">f4")))
            case 1 if flat.size and array.dtype.kind == "f":
                flat[rng.randrange(flat.size)] = rng.choice((np.nan, np.inf, -np.inf, 1e38))
                array = flat.reshape(array.shape)
            case 2 if flat.size:
                flat[rng.randrange(flat.size)] = rng.choice((0, 1, 2, 100))
                array = flat.reshape(array.shape)
            case 3:
                array = array[:0]
            case 4:
                array = array[None]
            case 5 if array.ndim:
                array = array[: rng.randrange(len(array) + 1)]
            case _:
                header = data.replace(b"(", b"(9" * 1 if rng.random() < 0.5 else b"(-", 1)
                return header[: len(data)]
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def forged_tensors(data: bytes, rng: random.Random) -> bytes:
    """A .safetensors file with a forged header, or with numbers that are none."""
    length = struct.unpack("<Q", data[:8])[0]
    header, body = data[8 : 8 + length], bytearray(data[8 + length :])
    match rng.randrange(4):
        case 0 if len(body) > 4:
            at = 4 * rng.randrange(len(body) // 4)
            body[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), 1e38, 0.0)))
        case 1:
            header = header.replace(b"F32", rng.choice((b"I32", b"F64", b"F16", b"C64", b"U8 ")))
        case 2:
            length = rng.choice((0, 1, 1 << 20, 1 << 40, 2**63, length - 1, length + 1))
            return struct.pack("<Q", length) + header + bytes(body)
        case _:
            header = forged_json(header, rng)
            header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + bytes(body)


_VALUES = (b"cos\nsystem\n", b"cbuiltins\neval\n", b"N", b"\x88", b"K\x07", b")", b"}", b"]", b"U\x01x", b"0")
_CALLS = (b"R", b"o", b"b", b"\x81", b"\x92", b"i", b"P", b"Q", b"\x82\x01", b"e", b"u", b"t", b"1", b"(")


def forged_pickle(data: bytes, rng: random.Random) -> bytes:
    """A pickle with an opcode replaced, left out, doubled, or a name that it asks for exchanged."""
    try:
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
    except (ValueError, IndexError):  # one within another file
        return spoiled(data, rng)
    ends = [*places[1:], len(data)]
    at = rng.randrange(len(places))
    code = data[places[at] : ends[at]]
    match rng.randrange(6):
        case 0:
            code = bytes([rng.choice([ord(each.code) for each in pickletools.opcodes])]) + code[1:]
        case 1:
            code = b""
        case 2:
            code = code + code
        case 3:
            code = rng.choice(_VALUES)
        case 4:
            code = rng.choice(_CALLS)
        case _:
            return spoiled(data, rng)
    return data[: places[at]] + code + data[ends[at] :]


_WORDS = (
    "!!python/object/apply:os.system [x]",
    "&a [*a]",
    "{",
    "- - -",
    "1e999",
    ".nan",
    "2000-01-01",
    "null",
    "[]",
    "'",
    "~",
)


def forged_words(data: bytes, rng: random.Random) -> bytes:
    """A text of lines with one doubled, left out, or with another word in it."""
    lines = data.decode().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 1:
            del lines[at]
        case 2:
            lines[at] = lines[at].rstrip("\n") + " " + rng.choice(_WORDS) + "\n"
        case _:
            head, colon, _ = lines[at].partition(":")
            lines[at] = head + colon + " " + rng.choice(_WORDS) + "\n"
    return "".join(lines).encode()


def forged(data: bytes, rng: random.Random) -> bytes:
    """What its first bytes show a file to be, forged; an unknown one is spoiled."""
    if data[:2] == b"PK":
        return forged_zip(forged)(data, rng)
    if data[:6] == b"\x93NUMPY":
        return forged_array(data, rng)
    if data[:1] in (b"{", b"["):
        return forged_json(data, rng)
    if data[:1] == b"\x80":
        return forged_pickle(data, rng)
    return spoiled(data, rng) if data else b"x"
