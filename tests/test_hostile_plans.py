"""Plan files made to do harm, with all their digests right: one error each, before memory is spent or a loop runs."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from cases import each
from forgeries import described, told
from plans import changed, leaves, one_of_each, with_entry

import taskfmm
from taskfmm.errors import InputError, StorageError
from taskfmm.store import check, copies, file, saved
from taskfmm.store.bounds import Unfit
from taskfmm.testing import DISTRIBUTIONS


@pytest.fixture(scope="module")
def plans(clustered, separate):
    return {"clustered": clustered.plan, "separate": separate.plan}


WRONG_SHARDS = [(10**6,), (-1,), (), (0, 10**6)]


def is_indices(leaf):
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind == "i"


@each("name", ["clustered", "separate"])
def test_a_right_plan_passes(plans, name):
    check.check(plans[name], name == "clustered")
    with pytest.raises(Unfit):
        check.check(plans[name], name != "clustered")


@each("name", ["clustered", "separate"])
def test_every_index_is_looked_at(plans, name):
    """In every array of integers of every class: one entry far below and far above."""
    plan, places = plans[name], one_of_each(plans[name])
    rng = np.random.default_rng(86171)
    indices = {owner: found for owner, found in places.items() if is_indices(found[1])}
    assert len(indices) == (44 if name == "clustered" else 39)
    for owner, (path, array) in indices.items():
        for new in (-2, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min):
            place = int(rng.integers(array.size))
            with pytest.raises(Unfit):
                check.check(changed(plan, path, with_entry(array, place, new)), name == "clustered")
                pytest.fail(f"{owner}[{place}] = {new} at {path}")


@each(
    "field, beyond",
    [
        ("Halo of charges.rows", lambda plan, work: np.diff(plan.charge_ptr)[list(work.shards)].max()),
        ("Halo of own.rows", lambda plan, work: np.diff(plan.charge_ptr)[list(work.shards)].max()),
        ("PointsToSurfaces.end", lambda plan, work: work.points.shape[1] + 1),
        ("PointsToSurfaces.rows", lambda plan, work: work.n_rows),
        ("PointsToPoints.end", lambda plan, work: work.points.shape[1] + 1),
        ("SurfacesToPoints.idx", lambda plan, work: work.halo.rows.size),
        ("Translation.source", lambda plan, work: work.halo.rows.size),
        ("Translation.target", lambda plan, work: work.n_rows),
        ("Siblings.target", lambda plan, work: len(work.target_child)),
        ("Siblings.source", lambda plan, work: len(work.source_child)),
        ("Siblings.mirror", lambda plan, work: 8),
        ("Siblings.target_child", lambda plan, work: work.n_rows),
        ("Siblings.source_child", lambda plan, work: work.halo.rows.size),
        ("MutualPairs.idx", lambda plan, work: work.ptr.size - 1),
        ("Csr.idx", lambda plan, work: plan.tree.n_boxes),
        ("Octree.source_ptr", lambda plan, work: work.source_order.size + 1),
    ],
)
def test_bounds_are_exact(plans, field, beyond):
    """One past the last is refused, in the last entry as well."""
    plan = plans["clustered"]
    path, array = one_of_each(plan)[field]
    work = plan
    for step in path[:-1]:
        work = getattr(work, step) if isinstance(step, str) else work[step]
    for place in (0, array.size - 1):
        with pytest.raises(Unfit):
            check.check(changed(plan, path, with_entry(array, place, beyond(plan, work))), True)


@each("name", ["clustered", "separate"])
def test_every_number_is_looked_at(plans, name):
    plan, places = plans[name], one_of_each(plans[name])
    numbers = {owner: found for owner, found in places.items() if not isinstance(found[1], np.ndarray)}
    assert len(numbers) == (19 if name == "clustered" else 17)
    del numbers["Domain.scale"]  # is compared with the caller's points, which are not part of a plan
    for owner, (path, number) in numbers.items():
        news = (
            [type(number)(new) for new in (10**6, -7, 2**70)]
            if not isinstance(number, tuple)
            else WRONG_SHARDS
        )
        for new in news:
            if new == number:
                continue
            with pytest.raises(Unfit):
                check.check(changed(plan, path, new), name == "clustered")
                pytest.fail(f"{owner} = {new} at {path}")


@each("name", ["clustered", "separate"])
def test_every_dtype_and_shape_is_looked_at(plans, name):
    plan, places = plans[name], one_of_each(plans[name])
    for owner, (path, array) in places.items():
        if not isinstance(array, np.ndarray):
            continue
        other = np.float32 if array.dtype.kind == "f" else np.uint64
        for new in (
            array.astype(other),
            array[:-1].copy(),
            array[None],
            np.empty((0,) * array.ndim, array.dtype),
        ):
            with pytest.raises(Unfit):
                check.check(changed(plan, path, new), name == "clustered")
                pytest.fail(f"{owner} {new.dtype} {new.shape} at {path}")


COPIES = {
    *(f"PointsToSurfaces.{field}" for field in ("points", "hi", "lo")),
    *(f"SurfacesToPoints.{field}" for field in ("targets", "hi", "lo", "box_hi", "box_lo")),
    *(f"PointsToPoints.{field}" for field in ("points", "targets")),
}
"""Fields that hold again what the tree holds."""


@each("name", ["clustered", "separate"])
def test_every_copy_is_compared(plans, name, request):
    """In works of each operator, the last bit of one number; a NaN; and charges of other points."""
    plan, fmm = plans[name], request.getfixturevalue(name)
    rng = np.random.default_rng(86201)
    copies.check(plan, fmm.sources, fmm.targets)
    seen: Counter = Counter()
    for path, field, array in leaves((plan.far, plan.near)):
        kind = (field, path[-2] if path[0] == 0 else "near")
        if field not in COPIES or seen[kind] == 3:
            continue
        seen[kind] += 1
        path = ("far" if path[0] == 0 else "near", *path[1:])
        place = int(rng.integers(array.size))
        for new in (np.nextafter(array.ravel()[place], np.inf), np.nan):
            with pytest.raises(Unfit, match=r"are not|other targets"):
                copies.check(changed(plan, path, with_entry(array, place, new)), fmm.sources, fmm.targets)
                pytest.fail(f"{field}[{place}] = {new} at {path}")
    assert len(seen) == 2 * 3 + 2 * 5 + 2  # P2M and P2L, M2P and L2P, near
    for path, field, array in leaves(plan):
        if field.endswith(("charges.rows", "own.rows", "Part.rows")) and array.size > 1 and seen[field] < 3:
            seen[field] += 1
            other = with_entry(array, 0, array[0] - 1 if array[0] else 1)
            with pytest.raises(Unfit, match="are not"):
                copies.check(changed(plan, path, other), fmm.sources, fmm.targets)
                pytest.fail(field)
    assert seen["Halo of charges.rows"] == seen["Part.rows"] == 3


def test_two_threads_never_write_one_row(plans):
    """Targets of one block in another: every index is in range."""
    plan = plans["clustered"]
    for field in ("m2m", "m2l"):
        works = [
            ((level, number), getattr(shard, field))
            for level, shards in enumerate(plan.far)
            for number, shard in enumerate(shards)
            if getattr(shard, field) is not None
        ]
        (level, number), work = max(works, key=lambda found: found[1].target.size)
        path = ("far", level, number, field)
        codes = np.vstack([work.code_ptr, np.full_like(work.code_ptr[:1], work.target.size)])
        with pytest.raises(Unfit, match="code_ptr has other blocks"):
            check.check(changed(plan, (*path, "code_ptr"), codes), True)
    row = np.flatnonzero((work.target_child >= 0).ravel())
    twice = with_entry(work.target_child, row[0], work.target_child.ravel()[row[1]])
    with pytest.raises(Unfit, match="target_child repeats itself"):
        check.check(changed(plan, (*path, "target_child"), twice), True)


# -- whole files


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The bytes of a small plan with every operator, and what was in it."""
    rng = np.random.default_rng(8674309)
    points = np.concatenate([DISTRIBUTIONS["plummer"](900, rng), DISTRIBUTIONS["sphere"](600, rng) * 30])
    path = tmp_path_factory.mktemp("original") / "plan.h5"
    taskfmm.Fmm(points, order=2, leaf_size=9).save(path)
    return path.read_bytes(), saved.load(path)


@pytest.fixture
def stored(original, tmp_path):
    """A file of it that may be spoilt."""
    content, found = original
    path = tmp_path / "plan.h5"
    path.write_bytes(content)
    return path, found


def moved(plan, field):
    """Where an array is, and what it is with one number a thousandth larger."""
    path, array = one_of_each(plan)[field]
    return path, with_entry(array, 5, array.ravel()[5] * 1.001)


def refused(path, match):
    with pytest.raises((InputError, StorageError), match=match) as found:
        taskfmm.Fmm.load(path)
    assert str(found.value).startswith(str(path))
    return found.value


def _own(found):
    return found.operators["potential"].at(0)


def _operators(found, **changes):
    own = _own(found)
    m2l = {field.name for field in fields(own.m2l)} & changes.keys()
    form = replace(own.m2l, **{name: changes.pop(name) for name in m2l})
    own = replace(own, **changes, m2l=form)
    operators = replace(found.operators["potential"], by_level={0: own})
    return dict(operators={"potential": operators, "gradient": operators})


@each(
    "change, message",
    [
        (
            lambda f: dict(kernel=replace(f.kernel, name="coulomb")),
            "kernel 'coulomb' is not one of this version",
        ),
        (lambda f: dict(kernel=replace(f.kernel, factor=2.0)), "kernel 'laplace' is not one of this version"),
        (lambda f: dict(eps=2.0), "eps is 2.0"),
        (lambda f: dict(eps=float("nan")), "eps is nan"),
        (lambda f: dict(order=99), "order is 99"),
        (lambda f: dict(leaf_size=-3), "leaf_size is -3"),
        (lambda f: dict(dtype="object"), "dtype is 'object'"),
        (lambda f: dict(sources=with_entry(f.sources, 77, np.nan)), "sources are not finite"),
        (lambda f: dict(sources=with_entry(f.sources, 77, 1e3)), "sources are not those of the tree"),
        (lambda f: dict(sources=f.sources[:-1]), "sources and the tree differ in number"),
        (lambda f: dict(sources=f.sources.T.copy()), "sources are not points"),
        (lambda f: dict(targets=f.sources.copy()), "targets are sources, or are not"),
        (lambda f: dict(plan=None), "the plan is missing"),
        (lambda f: dict(operators={}), "operators: of other outputs"),
        (lambda f: dict(operators={"charge": f.operators["potential"]}), "operators: of other outputs"),
        (lambda f: _operators(f, accuracy=replace(_own(f).accuracy, order=4)), "of another order"),
        (lambda f: _operators(f, accuracy=replace(_own(f).accuracy, order=99)), "an accuracy that cannot be"),
        (lambda f: _operators(f, accuracy=replace(_own(f).accuracy, m2l_dtype="int8")), "an accuracy that"),
        (lambda f: _operators(f, accuracy=replace(_own(f).accuracy, m2l_dtype="mixed")), "of mixed"),
        (lambda f: _operators(f, source_rank=np.full((8, 8), 2**40)), "ranks that M2L cannot have"),
        (
            lambda f: _operators(
                f, target_rank=with_entry(_own(f).m2l.target_rank, 8 + 2, 1)
            ),  # an octant with a bit on a level axis is the image of another one
            "ranks that M2L cannot have",
        ),
        (lambda f: _operators(f, source_rank=_own(f).m2l.source_rank[:7]), "source_rank has shape"),
        (lambda f: _operators(f, core=np.zeros(7, np.float32)), "core has shape"),
        (lambda f: _operators(f, up=_own(f).m2l.up[:-1]), "up has shape"),
        (lambda f: _operators(f, down=_own(f).m2l.down.astype(np.float32)), "down has shape"),
        (
            lambda f: _operators(f, source_parity=with_entry(_own(f).m2l.source_parity, 1, 0)),
            "parities of M2L",
        ),
        (
            lambda f: _operators(f, target_parity=_own(f).m2l.target_parity[:, 1:]),
            "target_parity has shape",
        ),
        (
            lambda f: _operators(f, core=np.full_like(_own(f).m2l.core, np.inf)),
            "core holds numbers that are not",
        ),
        (
            lambda f: _operators(f, down=with_entry(_own(f).m2l.down, 3, np.nan)),
            "down holds numbers that are not",
        ),
        (lambda f: _operators(f, m2m=with_entry(_own(f).m2m, 9, -1e5)), "m2m holds numbers that are not"),
        (lambda f: _operators(f, check_to_multipole=_own(f).check_to_multipole * 1e300), "beyond 1e.16"),
        (lambda f: _operators(f, upward_check=_own(f).upward_check * 1.5), "another outer surface"),
        (lambda f: _operators(f, upward_equivalent=_own(f).upward_check), "another inner surface"),
        (lambda f: _operators(f, m2m=np.zeros((8, 5, 5))), "has shape"),
        (lambda f: _operators(f, upward_check=np.zeros((3, 7))), "of another order"),
        (
            lambda f: dict(plan=changed(f.plan, ("tree", "domain", "scale"), float("inf"))),
            "no width or scale",
        ),
        (
            lambda f: dict(plan=changed(f.plan, ("tree", "domain", "lower"), np.full(3, np.nan))),
            "corner is not finite",
        ),
        (
            lambda f: dict(plan=changed(f.plan, *moved(f.plan, "PointsToSurfaces.points"))),
            "far/.*: points are not those of the tree",
        ),
        (
            lambda f: dict(plan=changed(f.plan, *moved(f.plan, "PointsToPoints.targets"))),
            "near/0: points are not those of the tree",
        ),
        (
            lambda f: dict(plan=changed(f.plan, *moved(f.plan, "SurfacesToPoints.targets"))),
            "targets of a chunk are not the caller's|other targets than L2P",
        ),
        (lambda f: dict(plan=changed(f.plan, ("near",), ())), "near: reads what is not there"),
        (lambda f: dict(plan=changed(f.plan, ("far",), f.plan.far[:-1])), "far: has other levels"),
        (lambda f: dict(plan=changed(f.plan, ("chunks",), f.plan.chunks[1:])), "chunks: gaps"),
    ],
)
def test_contents_that_cannot_be(stored, change, message):
    path, found = stored
    saved.save(path, replace(found, **change(found)))
    refused(path, message)


def forge(path, content, change):
    """The file with another outline, changed as an object or as text, and with every digest right again."""
    facts = json.loads(content.partition(b"\n")[0])
    place, size, _ = facts["outline"]
    outline = described(content[place : place + size])
    text = change(outline)
    text = text if isinstance(text, bytes) else told(outline)
    facts |= {"outline": [place, len(text), hashlib.sha256(text).hexdigest()], "size": place + len(text)}
    path.write_bytes(file._front(json.dumps(facts).encode()) + content[file.FRONT : place] + text)


def _table(name, column, value):
    return lambda outline: outline["datasets"][name].__setitem__(column, value)


def _value(**values):
    return lambda outline: outline["values"].update(values)


def _same_place(outline):
    outline["datasets"]["tree/parent"][1] = outline["datasets"]["tree/child_ptr"][1]


HALO = {
    "is": "Halo",
    "level": 3,
    "shards": [0],
    "ptr": {"array": ["keys", 0, [1]]},
    "rows": {"array": ["keys", 0, [1]]},
}


@each(
    "change, message",
    [
        (_table("sources", 2, 2**62), "beyond the file's"),
        (_table("sources", 2, 10**400), "a dataset of 1000"),
        (_table("sources", 2, -5), "beyond the file's"),
        (_table("sources", 2, 2.5), "a dataset of 'float64', 2.5 elements"),
        (_table("sources", 2, True), "a dataset of 'float64', True elements"),
        (_table("sources", 1, -64), "beyond the file's"),
        (_table("sources", 1, 0), "beyond the file's"),
        (_table("sources", 1, 4099), "beyond the file's"),
        (_table("sources", 1, "4096"), "at byte '4096'"),
        (_table("sources", 0, "object"), "a dataset of 'object'"),
        (_table("sources", 0, ["float64"]), "a dataset of"),
        (_table("sources", 3, 1), "the checksum of sources is wrong"),
        (_same_place, "datasets overlap"),
        (lambda outline: outline["datasets"]["sources"].pop(), "is damaged"),
        (lambda outline: outline["datasets"].pop("sources"), "sources"),
        (lambda outline: outline["values"].pop("tree"), "tree is missing"),
        (_value(eps={"is": "Path"}), "eps: 'Path'"),
        (_value(eps={"is": "__import__"}), "eps: '__import__'"),
        (_value(eps={"is": ["Halo"]}), "eps: unhashable"),
        (_value(eps={"is": "Halo"}), "a Halo of other fields"),
        (_value(eps=HALO | {"more": 1}), "a Halo of other fields"),
        (_value(eps=HALO | {"level": 3.0}), "Halo.level is of another type"),
        (_value(eps=HALO | {"ptr": 3}), "Halo.ptr is of another type"),
        (_value(eps=HALO | {"shards": [[1]]}), "Halo.shards is of another type"),
        (_value(eps=HALO), "eps is missing or of another type"),
        (_value(eps="1e-6"), "eps is missing or of another type"),
        (_value(eps={}), "eps: 'is'"),
        (_value(eps={"pairs": [[{"array": ["keys", 0, [1]]}, 1]]}), "eps: unhashable"),
        (_value(eps={"pairs": [[1]]}), "eps: not enough values"),
        (_value(sources={"array": ["sources", 0, [2**40, 2**40]]}), "beyond the end of sources"),
        (_value(sources={"array": ["sources", -1, [3]]}), "an array at -1"),
        (_value(sources={"array": ["sources", 0, [-3]]}), "of shape"),
        (_value(sources={"array": ["sources", 0, [1] * 40]}), "of shape"),
        (_value(sources={"array": ["sources", 0, [1.5]]}), "of shape"),
        (_value(sources={"array": ["nowhere", 0, [1]]}), "nowhere"),
        (lambda outline: outline.update(values=3), "is damaged"),
        (lambda outline: outline.update(datasets=[]), "is damaged"),
        (lambda outline: b"[" * 500_000, "is damaged"),
        (lambda outline: b'{"a":' * 100_000, "is damaged"),
        (lambda outline: b"[" + b"[]," * 150_000 + b"[]]", "is damaged"),
        (lambda outline: b"1" * 300_000, "is damaged"),
        (lambda outline: b"\xff\xfe\x00", "is damaged"),
        (lambda outline: b"NaN", "is damaged"),
        (lambda outline: b" " * 5_000_000, "an outline of 5000000 bytes"),
    ],
)
def test_outlines_that_cannot_be(original, tmp_path, change, message):
    """Refused for what they say, with little memory: what a file declares is worth nothing until it is there."""
    path = tmp_path / "plan.h5"
    forge(path, original[0], change)
    tracemalloc.start()
    try:
        refused(path, message)
        assert tracemalloc.get_traced_memory()[1] < 6e7
    finally:
        tracemalloc.stop()


def test_nests_without_end(original, tmp_path):
    path = tmp_path / "plan.h5"
    nest: list = []
    for _ in range(60):
        nest = [nest]
    forge(path, original[0], _value(eps=nest))
    refused(path, "eps: is nested too deep")


def test_no_description_is_decoded_but_the_one_asked_for(original, tmp_path):
    """A task opens the file for one of hundreds of values."""
    path = tmp_path / "plan.h5"

    def change(outline):
        outline = json.loads(told(outline))
        outline["values"]["eps"] = "["
        return json.dumps(outline).encode()

    forge(path, original[0], change)
    found = file.PlanFile(path)
    assert found["leaf_size"] == 9
    with pytest.raises(StorageError, match=r"is damaged.*eps"):
        found["eps"]


def test_first_lines_that_cannot_be(stored):
    path, _ = stored
    content = path.read_bytes()
    facts = json.loads(content.partition(b"\n")[0])
    for changes in (
        {"outline": [0, 10, ""]},
        {"outline": [-4096, 10, ""]},
        {"outline": [4096, 2**60, ""]},
        {"outline": [2**60, 10, ""]},
        {"outline": [4096, 10]},
        {"outline": None},
        {"outline": [4096.0, 10, ""]},
        {"size": 2**60},
        {"size": None},
    ):
        path.write_bytes(file._front(json.dumps(facts | changes).encode()) + content[file.FRONT :])
        refused(path, "is damaged")
    for name in ("format", "outline", "size", "taskfmm"):
        rest = {key: value for key, value in facts.items() if key != name}
        path.write_bytes(file._front(json.dumps(rest).encode()) + content[file.FRONT :])
        refused(path, "is damaged")
    for line in (b'{"kind": "taskfmm plan"', b'{"kind": "taskfmm plan", "format": ' + b"[" * 3000):
        path.write_bytes(file._front(line) + content[file.FRONT :])
        refused(path, "is damaged")


def test_what_is_mostly_holes_costs_nothing(tmp_path):
    """A file that is long on paper only."""
    path = tmp_path / "plan.h5"
    facts = {"kind": file.KIND, "format": file.FORMAT, "taskfmm": taskfmm.__version__, "byteorder": "little"}
    facts |= {"size": 2**43, "outline": [4096, 2**39, "0" * 64]}
    with open(path, "wb") as raw:
        raw.write(file._front(json.dumps(facts).encode()))
        raw.truncate(2**43)
    tracemalloc.start()
    try:
        refused(path, "plan.h5: ")
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
