"""An ONNX file that carries its manifest and proves that it is whole; read with the standard library alone.

Protobuf messages may be concatenated, so the manifest and a SHA-256 are appended to the graph as two more entries of the
model's `metadata_props`. The hash covers every byte before its own entry, which has a fixed length and stands last: it can
be checked before any parser sees the file, and the file is still plain ONNX for every other tool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from phr.errors import CorruptFileError
from phr.files import parse_json, read_model_file, without_twins, write_bytes
from phr.manifest import Manifest

_GRAPH, _METADATA_PROPS = 7, 14
_KEY, _VALUE = 1, 2
_MANIFEST_KEY, _HASH_KEY = "phr.manifest", "phr.sha256"
_NUMBER, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
"""Types of fields; those of a fixed length → their bytes."""

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Where tensors can hide in an ONNX model: message → field number → message (onnx.proto3)."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEEPEST = 32
_LARGEST = 1 << 31
"""Protobuf's own limit."""


def seal(graph: bytes, manifest: Manifest) -> bytes:
    """A serialised ONNX model with the manifest and the hash appended; the same input gives the same bytes."""
    data = graph + _entry(_MANIFEST_KEY, _as_json(manifest))
    return data + _entry(_HASH_KEY, hashlib.sha256(data).hexdigest())


def reseal_onnx(path: Path, *, commitment: int | dict[str, float], notes: dict[str, Any]) -> None:
    """Replace the default commitment of a sealed file, and add notes; the graph stays as it is."""
    data, manifest = read_onnx(path)
    body = data[: -len(_entry(_HASH_KEY, "0" * 64))]
    last = [bytes(value) for number, value in _fields(memoryview(body)) if number == _METADATA_PROPS][-1]
    ending = _message(_METADATA_PROPS, last)
    if dict(_fields(memoryview(last))).get(_KEY) != _MANIFEST_KEY.encode() or not body.endswith(ending):
        raise CorruptFileError(f"{path} is not as phr export writes it: its manifest is not the last entry before the hash")
    tuned = seal(body.removesuffix(ending), replace(manifest, commitment=commitment, notes={**manifest.notes, **notes}))
    unseal(tuned, str(path))
    write_bytes(path, tuned)


def read_onnx(path: Path) -> tuple[bytes, Manifest]:
    """Read the bytes that `seal` made, and their manifest; every byte is checked before it is used."""
    data = read_model_file(path, _LARGEST)
    return data, unseal(data, str(path))


def is_ours(path: Path) -> bool:
    """Whether a file contains marks of `seal`, complete or not."""
    data = read_model_file(path, _LARGEST)
    return any(key.encode() in data for key in (_MANIFEST_KEY, _HASH_KEY))


def read_plain_onnx(path: Path) -> bytes:
    """Read a model that another program wrote: without a hash, but it is protobuf and refers to no other file."""
    data = read_model_file(path, _LARGEST)
    try:
        _refuse_external_data(memoryview(data), "model")
        if _GRAPH not in (number for number, _ in _fields(memoryview(data))):
            raise ValueError("it contains no graph")
    except (ValueError, RecursionError) as error:
        name = f"{path} was not written by phr export, and"
        raise CorruptFileError(f"{name} is not a complete ONNX model either: {error}") from error
    return data


def unseal(data: bytes, name: str) -> Manifest:
    """Check the hash, the references and the manifest of a sealed model; `name` is for the messages."""
    ending = len(_entry(_HASH_KEY, "0" * 64))
    body, hashed = data[:-ending], data[-ending:]
    if hashed != _entry(_HASH_KEY, hashlib.sha256(body).hexdigest()):
        why = "was truncated or edited" if _HASH_KEY.encode() in data else "was not written by phr export, or was truncated"
        raise CorruptFileError(f"{name} {why}: its last bytes are not the SHA-256 of the others")
    try:
        _refuse_external_data(memoryview(body), "model")
        entries = [dict(_fields(value)) for number, value in _fields(memoryview(body)) if number == _METADATA_PROPS]
        pairs = ((bytes(entry.get(_KEY, b"")).decode(), bytes(entry.get(_VALUE, b"")).decode()) for entry in entries)
        texts = without_twins(pairs)
        values = parse_json(texts.get(_MANIFEST_KEY, "null"), name)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{name} is not a model that phr wrote: {error}") from error
    return Manifest.from_json(values, name)


def _as_json(manifest: Manifest) -> str:
    return json.dumps(manifest.to_json(), sort_keys=True, allow_nan=False)


def _entry(key: str, value: str) -> bytes:
    """One `metadata_props` entry of a serialised ModelProto."""
    return _message(_METADATA_PROPS, _message(_KEY, key.encode()) + _message(_VALUE, value.encode()))


def _message(number: int, content: bytes) -> bytes:
    length, digits = len(content), bytearray([number << 3 | _BYTES])
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([*digits, length]) + content


def _refuse_external_data(message: memoryview, kind: str, depth: int = 0) -> None:
    """Raise ValueError if a tensor of a model names another file, or the bytes are not protobuf."""
    if depth > _DEEPEST:
        raise ValueError(f"its graph is nested more than {_DEEPEST} deep")
    for number, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            raise ValueError("a tensor's values lie in another file (external data), which phr does not follow")
        child = _CHILDREN[kind].get(number)
        if child is not None:
            if isinstance(value, int):
                raise ValueError("a field has the wrong type")
            _refuse_external_data(value, child, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value (an int, else bytes) of a protobuf message's fields, in order; ValueError if it is not protobuf."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place, longest=5)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:  # parsers drop what is beyond 32 bits, and would see another field than is seen here
            raise ValueError(f"byte {place} begins a field of the impossible number {number}")
        if wire == _NUMBER:
            value, place = _read_varint(message, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _read_varint(message, place)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"byte {place} begins a field of unknown type {wire}")
        if place + length > len(message):
            raise ValueError(f"a field at byte {place} runs past the end")
        yield number, message[place : place + length]
        place += length


def _read_varint(message: memoryview, place: int, longest: int = 10) -> tuple[int, int]:
    """A number of at most `longest` bytes, and the place after it."""
    value = 0
    for shift in range(0, 7 * longest, 7):
        if place == len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError(f"a number at byte {place} does not end")
