"""Bugs made by hand, for `mutations.py`: each is an edit that a tired person could make.

A bug belongs here if a user would be hurt by it: by a wrong number, a lost file, or a promise broken. An edit that
changes nothing that anyone could see does not.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One bug.

    name : what is broken, for the command line
    file : in taskfmm/
    old : text that stands in the file exactly once; new : what it becomes
    effect : what a user would meet
    first : the test files, without ``test_``, that should notice; they run before the others
    """

    name: str
    file: str
    old: str
    new: str
    effect: str
    first: tuple[str, ...]


GEOMETRY = (
    Mutant(
        "domain-scale-rounds",
        "geometry/domain.py",
        "math.ldexp(SIZE, -exponent - 1)\n",
        "0.9 * math.ldexp(SIZE, -exponent - 1)\n",
        "coordinates far from the origin lose their last digits",
        ("domain",),
    ),
    Mutant(
        "box-centre-in-one-word",
        "geometry/domain.py",
        "lo = (lower - (hi - back)) + (offset - back)",
        "lo = 0.0 * hi",
        "deep boxes far from the origin are out of place",
        ("domain",),
    ),
    Mutant(
        "morton-axes-swapped",
        "geometry/morton.py",
        "hi = (spread(x >> _WORD) << _TWO) | (spread(y >> _WORD) << _ONE)",
        "hi = (spread(y >> _WORD) << _TWO) | (spread(x >> _WORD) << _ONE)",
        "points land in boxes elsewhere",
        ("morton",),
    ),
    Mutant(
        "equal-keys-unsorted",
        "geometry/morton.py",
        "        _sort_runs(order, same, np.arange(hi.size))\n",
        "        pass\n",
        "another machine adds in another order and gives other bits",
        ("morton",),
    ),
    Mutant(
        "outer-radius-too-wide",
        "geometry/surface.py",
        "OUTER = 2.95",
        "OUTER = 3.05",
        "check surfaces reach into boxes of the V list",
        ("surface",),
    ),
)

TREE = (
    Mutant(
        "depth-of-one-key-word",
        "tree/balance.py",
        "distinct = (hi[begin] != hi[end - 1]) | (lo[begin] != lo[end - 1])",
        "distinct = hi[begin] != hi[end - 1]",
        "two clusters a million widths apart become two huge leaves: hours instead of seconds",
        ("tree",),
    ),
    Mutant(
        "balance-skipped",
        "tree/balance.py",
        "_close(hi, lo, level, crowded[level], below, stamp)",
        "_close(hi, lo, level, crowded[level], below[:0], stamp)",
        "clustered clouds miss interactions",
        ("tree",),
    ),
    Mutant(
        "balance-misses-a-corner",
        "tree/balance.py",
        "for slot in range(27):",
        "for slot in range(26):",
        "some clustered clouds miss interactions",
        ("tree",),
    ),
    Mutant(
        "w-and-x-swapped",
        "tree/lists.py",
        "return Lists(colleagues, u, v, w, x)",
        "return Lists(colleagues, u, v, x, w)",
        "clustered clouds get wrong potentials",
        ("lists",),
    ),
    Mutant(
        "adjacent-cousins-far",
        "tree/lists.py",
        "np.abs(offset).max(axis=-1) <= 1, slot",
        "np.abs(offset).sum(axis=-1) <= 2, slot",
        "boxes that touch at a corner go through expansions: the error does not fall with eps",
        ("lists",),
    ),
    Mutant(
        "children-off-by-one",
        "tree/octree.py",
        "child_ptr = np.cumsum(np.concatenate(([1], *n_children)), dtype=np.int32)",
        "child_ptr = np.cumsum(np.concatenate(([0], *n_children)), dtype=np.int32)",
        "every box has the wrong children",
        ("tree",),
    ),
)

OPERATORS = (
    Mutant(
        "m2m-mirrored",
        "operators/expansions.py",
        "child_inner = 0.5 * inner + center[:, None]",
        "child_inner = 0.5 * inner - center[:, None]",
        "M2M and L2L take the child for its opposite: wrong from the second level on",
        ("operators",),
    ),
    Mutant(
        "l2l-level-factor-lost",
        "operators/expansions.py",
        "l2l.append(2.0**degree * (to_local.T",
        "l2l.append((to_local.T",
        "every level down doubles what came from above",
        ("operators",),
    ),
    Mutant(
        "density-weighted",
        "operators/expansions.py",
        "multipole_to_density=np.ascontiguousarray(v.T)",
        "multipole_to_density=np.ascontiguousarray((v * s / s[0]).T)",
        "wrong numbers wherever W lists are",
        ("operators",),
    ),
    Mutant(
        "core-rotated-backwards",
        "operators/symmetry.py",
        "turned = rotation.T @ points",
        "turned = rotation @ points",
        "M2L of half of the directions takes another direction's core",
        ("m2l",),
    ),
    Mutant(
        "cores-cut-too-early",
        "operators/m2l.py",
        "cut = tol * max(core[1][0] for core in cores.values())",
        "cut = 30.0 * tol * max(core[1][0] for core in cores.values())",
        "the error is above eps",
        ("m2l",),
    ),
    Mutant(
        "margin-ignored",
        "operators/accuracy.py",
        "if MARGIN * row.error[output] <= eps)",
        "if row.error[output] <= eps)",
        "eps is not kept for charges at the worst places",
        ("accuracy",),
    ),
    Mutant(
        "m2l-always-float32",
        "operators/accuracy.py",
        'm2l_dtype = "float32" if eps >= FLOAT32_M2L else "float64"',
        'm2l_dtype = "float32"',
        "an eps of 1e-9 gives errors of 1e-7",
        ("accuracy",),
    ),
    Mutant(
        "store-without-checksums",
        "operators/store.py",
        ", fletcher32=True)",
        ", fletcher32=False)",
        "a flipped bit on the disk gives wrong potentials from then on",
        ("operator_cache",),
    ),
    Mutant(
        "store-takes-any-identity",
        "operators/store.py",
        'file.attrs["identity"] != repr(',
        'file.attrs["identity"] == repr(',
        "operators of another version are used, the right ones never",
        ("operator_cache",),
    ),
    Mutant(
        "store-takes-incomplete-files",
        "operators/store.py",
        'if not file.attrs.get("complete") or ',
        "if ",
        "what a killed process left behind is used",
        ("operator_cache",),
    ),
)

KERNELS = (
    Mutant(
        "zero-distance-counted",
        "kernels/laplace.py",
        "np.sqrt(low)) if low >= NORMAL else 0.0",
        "np.sqrt(low))",
        "a point meets itself: NaN everywhere",
        ("kernels",),
    ),
    Mutant(
        "newton-step-lost",
        "kernels/laplace.py",
        "return y * (1.0 + e * (0.5 + 0.375 * e))",
        "return y",
        "no potential has more than seven digits",
        ("kernels",),
    ),
    Mutant(
        "gradient-sign",
        "kernels/laplace.py",
        "        gx -= slope * dx",
        "        gx += slope * dx",
        "forces along x point the wrong way",
        ("kernels",),
    ),
    Mutant(
        "gradient-components-swapped",
        "kernels/laplace.py",
        "back[2, j] += to_there * dy\n        back[3, j] += to_there * dz",
        "back[3, j] += to_there * dy\n        back[2, j] += to_there * dz",
        "forces between neighbours have y and z exchanged",
        ("kernels",),
    ),
    Mutant(
        "four-pi-lost",
        "kernels/laplace.py",
        "factor=1.0 / (4.0 * np.pi)",
        "factor=1.0",
        "every potential is 12.57 times too large",
        ("direct",),
    ),
    Mutant(
        "source-lost-between-tiles",
        "kernels/gather_loops.py",
        "n = min(TILE, size - skip)",
        "n = min(TILE - 1, size - skip)",
        "leaves with more neighbours than a tile lose one of each",
        ("near_tiles",),
    ),
    Mutant(
        "leaf-meets-a-box-from-its-corner",
        "kernels/gather_loops.py",
        "packed[axis, s] = shift * inverse_width + ratio * surface[axis, s]",
        "packed[axis, s] = shift * inverse_width + surface[axis, s]",
        "boxes of W lists act as if twice as large",
        ("operators",),
    ),
)

PLAN = (
    Mutant(
        "direction-lost",
        "plan/shards.py",
        "target, direction = np.nonzero(near >= 0)",
        "target, direction = np.nonzero(near[:, :26] >= 0)",
        "boxes do not feel one of their 26 neighbourhoods",
        ("plan",),
    ),
    Mutant(
        "direction-reversed",
        "plan/shards.py",
        "code = (26 - direction).astype(np.int16)",
        "code = direction.astype(np.int16)",
        "M2L mirrors every interaction",
        ("plan",),
    ),
    Mutant(
        "shard-bounds-off-by-one",
        "plan/shards.py",
        'np.searchsorted(bounds, boxes, side="right") - 1',
        'np.maximum(np.searchsorted(bounds, boxes, side="left") - 1, 0)',
        "the first box of a shard is read from the shard before it",
        ("plan",),
    ),
    Mutant(
        "m2p-at-the-wrong-level",
        "plan/shards.py",
        "halo, 0.5, boxes, Csr(ptr, where))",
        "halo, 1.0, boxes, Csr(ptr, where))",
        "boxes of W lists act from other places, twice as large",
        ("plan", "serial"),
    ),
    Mutant(
        "p2l-run-off-by-one",
        "plan/shards.py",
        "            np.concatenate([[0], np.cumsum(count[rows])]),\n",
        "            np.concatenate([[0], np.cumsum(count[rows]) - 1]),\n",
        "a source leaf is given to the next box",
        ("plan",),
    ),
    Mutant(
        "run-loses-its-last-point",
        "plan/runs.py",
        "for j in range(begin[i], end[i]):\n            out[at] = j",
        "for j in range(begin[i], end[i]):\n            out[at] = min(j, end[i] - 2)",
        "the charge of a leaf's last point is its neighbour's",
        ("plan",),
    ),
    Mutant(
        "near-pairs-twice",
        "plan/runs.py",
        "            elif other > i:\n",
        "            else:\n",
        "neighbouring leaves of a block count each other twice",
        ("plan",),
    ),
    Mutant(
        "leaf-does-not-meet-itself",
        "plan/runs.py",
        "if other < 0 or other == i or other",
        "if other < 0 or other",
        "the nearest neighbours, those in the same leaf, are missing",
        ("plan",),
    ),
    Mutant(
        "moved-entries-kept",
        "plan/plan.py",
        "_csr(x_rows[~x_direct], lists.x.idx[~x_direct], tree.n_boxes)",
        "_csr(x_rows, lists.x.idx, tree.n_boxes)",
        "what moved from the X list into the near field counts twice",
        ("plan",),
    ),
    Mutant(
        "permutation-not-inverted",
        "plan/plan.py",
        "rows = tree.target_order[list_runs(*tree.target_ptr[leaves].T)]",
        "rows = np.argsort(tree.target_order)[list_runs(*tree.target_ptr[leaves].T)]",
        "every value is right, at another target",
        ("fmm",),
    ),
    Mutant(
        "chunk-loses-a-row",
        "plan/plan.py",
        "columns = order[ends[i] : ends[i + 1]]",
        "columns = order[ends[i] : ends[i + 1] - 1]",
        "one target of each task keeps a part of its potential",
        ("plan",),
    ),
    Mutant(
        "cut-loses-the-end",
        "plan/cost.py",
        "np.concatenate([[0], inner, [cost.size]])",
        "np.concatenate([[0], inner, [cost.size - 1]])",
        "the last leaf of a level has no near field",
        ("plan",),
    ),
    Mutant(
        "worst-leaf-chosen",
        "plan/tune.py",
        "return min(cost, key=cost.__getitem__)",
        "return max(cost, key=cost.__getitem__)",
        "ten times slower",
        ("tune",),
    ),
)

PASSES = (
    Mutant(
        "halo-rows-off-by-one",
        "passes/halo.py",
        "rows[halo.rows[first:last]]",
        "rows[halo.rows[first:last] - 1]",
        "every box reads its neighbour's expansions",
        ("passes",),
    ),
    Mutant(
        "octant-lost",
        "passes/translations.py",
        "for code in range(code_ptr.shape[1] - 1):",
        "for code in range(code_ptr.shape[1] - 2):",
        "an eighth of the charges vanishes on the way up and down",
        ("operators",),
    ),
    Mutant(
        "m2l-octant-lost",
        "passes/siblings.py",
        "    for o in range(8):",
        "    for o in range(7):",
        "sources in one octant are not felt from afar",
        ("m2l",),
    ),
    Mutant(
        "m2l-batch-border-twice",
        "passes/siblings.py",
        "code_ptr[block, d + 1], BATCH):",
        "code_ptr[block, d + 1], BATCH - 1):",
        "pairs of boxes at the border of a batch count twice, in large problems only",
        ("m2l",),
    ),
    Mutant(
        "m2l-parity",
        "passes/siblings.py",
        "+ (target & 1) - (source & 1) + 3",
        "- (target & 1) + (source & 1) + 3",
        "M2L mirrors siblings along z",
        ("m2l",),
    ),
    Mutant(
        "p2l-on-the-outer-surface",
        "passes/transfer.py",
        "check_potentials(work, operators.downward_check",
        "check_potentials(work, operators.upward_check",
        "X lists give wrong potentials",
        ("operators",),
    ),
    Mutant(
        "level-factor-of-gradients",
        "passes/target.py",
        "work.half_width ** (degree - 1)",
        "work.half_width**degree",
        "gradients of the far field have another unit",
        ("operators",),
    ),
    Mutant(
        "m2m-changes-its-input",
        "passes/source.py",
        "if own is None else own.copy()",
        "if own is None else own",
        "computing the same graph again, or after a worker was lost, gives other numbers",
        ("operators",),
    ),
    Mutant(
        "gradient-in-other-units",
        "passes/result.py",
        'range((output == "gradient") - (kernel.degree or 0))',
        "range(-(kernel.degree or 0))",
        "a gradient is as wrong as the cube is wide",
        ("passes",),
    ),
)

AROUND = (
    Mutant(
        "loops-on-one-core",
        "jit.py",
        "        if threads == 1:\n",
        "        if threads >= 1:\n",
        "planning and the synchronous scheduler use one core",
        ("jit",),
    ),
    Mutant(
        "thread-budget-ignored",
        "runtime/threads.py",
        "int(pool._max_workers)",
        "1",
        "every task takes all cores: as many threads as cores squared",
        ("threads",),
    ),
    Mutant(
        "blas-not-pinned",
        "runtime/threads.py",
        'limit(limits=1, user_api="blas")',
        'limit(limits=None, user_api="blas")',
        "every task starts BLAS threads of its own",
        ("threads",),
    ),
    Mutant(
        "bar-forgets-tasks",
        "runtime/progress.py",
        "sum(operator_of(key) is not None for key in pending)",
        "min(1, sum(operator_of(key) is not None for key in pending))",
        "the bar is full after one task",
        ("progress",),
    ),
    Mutant(
        "charges-in-the-wrong-order",
        "graph/tasks.py",
        "[None, :]",
        "[None, ::-1]",
        "each source has another one's charge",
        ("graph",),
    ),
    Mutant(
        "fusion-unblocked",
        "graph/spec.py",
        "    def block_fusion(self) -> bool:\n        return True",
        "    def block_fusion(self) -> bool:\n        return False",
        "operators vanish from profiles into chains",
        ("graph",),
    ),
    Mutant(
        "key-without-charges",
        "fmm.py",
        "if isinstance(charges, da.Array) else charges.data)",
        'if isinstance(charges, da.Array) else b"")',
        "two charge vectors computed together give the same potential",
        ("fmm",),
    ),
    Mutant(
        "estimate-too-kind",
        "fmm.py",
        "wrong = float(np.linalg.norm(found[rows] - exact))",
        "wrong = float(np.linalg.norm(found[rows] - exact)) / 2",
        "the error is twice what taskfmm says",
        ("fmm",),
    ),
    Mutant(
        "nan-accepted",
        "validate.py",
        "finite = np.isfinite(values)",
        "finite = ~np.isinf(values)",
        "one bad charge makes every potential NaN, without a word",
        ("validate",),
    ),
    Mutant(
        "transposed-points-accepted",
        "validate.py",
        "if len(shape) == 2 and shape[1] == 3:",
        "if len(shape) == 2 and 3 in shape:",
        "coordinates are read across, or an error from deep inside",
        ("validate",),
    ),
    Mutant(
        "output-not-atomic",
        "io.py",
        "_replace(self.path, self._image.getbuffer())",
        "self.path.write_bytes(self._image.getbuffer())",
        "a full disk destroys the results of yesterday",
        ("io",),
    ),
    Mutant(
        "links-followed",
        "io.py",
        "if not isinstance(link, h5py.HardLink):",
        "if isinstance(link, h5py.SoftLink):",
        "a file from a stranger reads other files",
        ("io",),
    ),
    Mutant(
        "failure-exits-with-0",
        "cli/group.py",
        "ctx.exit(1)",
        "ctx.exit(0)",
        "a job script goes on without results",
        ("cli",),
    ),
)

MUTANTS = (*GEOMETRY, *TREE, *OPERATORS, *KERNELS, *PLAN, *PASSES, *AROUND)
