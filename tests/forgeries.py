"""Plan files for `fuzz.py`: valid ones, and others whose contents are wrong behind checksums that are right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np

import taskfmm
from taskfmm.store import file


def files() -> list[tuple[bytes, list[np.ndarray]]]:
    """Small plans with every operator, and their results; also makes all that Numba has to make."""
    rng = np.random.default_rng(50129)
    cloud = np.concatenate([rng.random((150, 3)), 0.01 * rng.random((150, 3))])
    made = [
        taskfmm.Fmm(cloud, order=2, leaf_size=4),
        taskfmm.Fmm(cloud, rng.random((100, 3)), order=2, leaf_size=4),
        taskfmm.Fmm(cloud[:40], order=2, leaf_size=4, kernel="one"),
        taskfmm.Fmm(cloud, order=2, leaf_size=4, box=(1.0, 1.0, 2.0)),
        taskfmm.Fmm(cloud[:2], order=2),
        taskfmm.Fmm(cloud[:0], order=2),
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for fmm in made:
            path = Path(folder) / "plan.h5"
            fmm.save(path)
            found.append((path.read_bytes(), results(taskfmm.Fmm.load(path))))
    return found


def results(fmm: taskfmm.Fmm) -> list[np.ndarray]:
    """Of charges that are always the same."""
    charges = np.random.default_rng(50131).uniform(-1, 1, len(fmm.sources))
    if len(charges):
        charges -= charges.mean()  # as a periodic box asks for
    with dask.config.set({"scheduler": "synchronous", "taskfmm.numba-threads": 1}):
        return list(dask.compute(fmm.evaluate(charges))[0].values())


def described(text: bytes) -> dict:
    """An outline, with the descriptions of values as objects."""
    outline = json.loads(text)
    return outline | {"values": {name: json.loads(value) for name, value in outline["values"].items()}}


def told(outline: dict) -> bytes:
    """The text of an outline whose values may be anything."""
    values = outline.get("values")
    if isinstance(values, dict):
        outline = outline | {"values": {name: json.dumps(value) for name, value in values.items()}}
    return json.dumps(outline).encode()


def forged(content: bytes, rng: random.Random) -> bytes:
    """A plan file with a few numbers, descriptions or facts changed, and every digest made right again."""
    facts = json.loads(content.partition(b"\n")[0])
    place, size, _ = facts["outline"]
    outline, data = described(content[place : place + size]), bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        action = rng.random()
        if action < 0.7:
            forge_numbers(data, outline, rng)
        elif action < 0.95:
            forge_json(outline[rng.choice(("values", "values", "datasets"))], rng)
        else:
            forge_json(facts, rng)
    for table in outline["datasets"].values():
        with contextlib.suppress(Exception):  # it does not say any more where it is
            table[3] = zlib.crc32(data[table[1] : table[1] + table[2] * np.dtype(table[0]).itemsize])
    text = told(outline)
    if facts.get("outline") == [place, size, hashlib.sha256(content[place : place + size]).hexdigest()]:
        facts |= {"outline": [place, len(text), hashlib.sha256(text).hexdigest()], "size": place + len(text)}
    return file._front(json.dumps(facts).encode()) + data[file.FRONT : place] + text


def forge_numbers(data: bytearray, outline: dict, rng: random.Random) -> None:
    """In one of the arrays, whatever its size: bits, values at the limits, entries exchanged or copied."""
    arrays = [node["array"] for node in nodes(outline["values"]) if "array" in node]
    with contextlib.suppress(Exception):  # an outline that was changed before
        name, first, shape = rng.choice(arrays)
        kind, place, *_ = outline["datasets"][name]
        whole = np.frombuffer(data, kind, math.prod(shape), place + first * np.dtype(kind).itemsize)
        at, other = rng.randrange(whole.size), rng.randrange(whole.size)
        action = rng.random()
        if action < 0.3:
            bits = whole[at : at + 1].view(np.uint8)
            bits[rng.randrange(bits.size)] ^= 1 << rng.randrange(8)
        elif action < 0.6:
            limits = (
                0,
                -1,
                1,
                whole.size,
                whole.size - 1,
                int(whole[at]) + 1,
                int(whole[at]) - 1,
                2**31 - 1,
                2**62,
            )
            numbers = (0.0, -1.0, 1e300, 1e-300, np.nan, np.inf, 5e-324, whole[at] * 2)
            whole[at] = rng.choice(numbers if whole.dtype.kind == "f" else limits)
        elif action < 0.8:
            whole[at], whole[other] = whole[other], whole[at]
        else:
            whole[min(at, other) : max(at, other) + 1] = whole[at]


def nodes(described: object) -> Iterator[dict]:
    """All mappings in a nest."""
    if isinstance(described, dict):
        yield described
    if isinstance(described, (dict, list)):
        for inner in described.values() if isinstance(described, dict) else described:
            yield from nodes(inner)


def forge_json(described: object, rng: random.Random) -> None:
    """Somewhere in a nest of mappings and lists: a value changed, exchanged for one from elsewhere, or dropped."""
    inner = described
    while isinstance(inner, (dict, list)) and inner:
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        if not isinstance(inner[key], (dict, list)) or not inner[key] or rng.random() < 0.1:
            break
        inner = inner[key]
    else:
        return
    action, old = rng.random(), inner[key]
    if action < 0.4 and isinstance(old, int):
        inner[key] = old + rng.choice((-1, 1, 8, 64, -old, 2**31, 2**63))
    elif action < 0.6:
        inner[key] = rng.choice(
            (None, 0, -1, 1.5, "", "laplace", "int64", True, [], {}, [[1]], 2**70, float("nan"))
        )
    elif action < 0.8 and isinstance(inner, list):
        inner[key] = rng.choice(inner)
    else:
        del inner[key]
