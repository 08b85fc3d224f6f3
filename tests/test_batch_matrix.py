"""The matrix of a batch: the cases it means, what it cannot mean, and what a case asks of a scheduler."""

from __future__ import annotations

from dataclasses import replace

import dask
import pytest
from cases import each

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from batches import CASE, ROOT, SMALL, THREADS, invoke

from benchmarks.batches import matrix, scheduling
from taskfmm.errors import InputError


def test_product_of_the_lists():
    found = matrix.parse(
        {"n": ["1e3", 2000], "distribution": "sphere", "eps": ["1e-3", 1e-6], "threads": ["1x1", "2x3"]}
    )
    assert len(found.cases) == 8
    assert found.timeout == matrix.TIMEOUT
    assert {(case.n, case.eps) for case in found.cases} == {
        (1000, 1e-3),
        (1000, 1e-6),
        (2000, 1e-3),
        (2000, 1e-6),
    }
    last = found.cases[-1]
    assert (last.dask_threads, last.numba_threads, last.workers, last.cores) == (2, 3, 1, 6)
    assert (last.distribution, last.kernel, last.outputs) == ("sphere", "laplace", "potential")
    assert [case.n for case in found.cases] == [1000] * 4 + [2000] * 4, "small ones first"


def test_excluded_and_hand_made_cases():
    lists = {"n": [10, 20], "distribution": ["cube", "sphere"], "eps": [1e-3]}
    found = matrix.parse(
        lists
        | {
            "exclude": [{"n": 20, "distribution": ["sphere", "plummer"]}],
            "cases": [{"n": [20, 30], "distribution": "plummer", "eps": 1e-9, "seed": 5}],
        }
    )
    sizes = [(case.n, case.distribution) for case in found.cases]
    assert sizes == [(10, "cube"), (10, "sphere"), (20, "cube"), (20, "plummer"), (30, "plummer")]
    assert found.cases[-1].seed == 5
    assert matrix.parse({"cases": [{"n": 9, "distribution": "cube", "eps": 0.1}]}).cases[0].n == 9
    twice = matrix.parse(lists | {"cases": [{"n": 10, "distribution": "cube", "eps": 1e-3}]})
    assert len(twice.cases) == 4


@each(
    "change, words",
    [
        ({"distributions": ["cube"]}, "'distributions' is not known: did you mean 'distribution'"),
        ({"N": [5]}, "'N' is not known: did you mean 'n'"),
        ({"zzz": 1}, "choose from n, distribution"),
        ({"n": []}, "n is empty"),
        ({"n": ["many"]}, "n is 'many', expected a whole number"),
        ({"n": [1000.5]}, "n is 1000.5"),
        ({"n": ["1e-3"]}, "n is '1e-3'"),
        ({"n": [True]}, "n is True"),
        ({"n": [float("nan")]}, "n is nan"),
        ({"n": ["inf"]}, "n is 'inf'"),
        ({"n": {"a": 1}}, "expected a whole number"),
        ({"eps": [2]}, "eps is 2"),
        ({"eps": ["tight"]}, "eps is 'tight'"),
        ({"distribution": ["cubes"]}, "did you mean 'cube'"),
        ({"distribution": [None]}, "distribution None is not known"),
        ({"kernel": "laplce"}, "did you mean 'laplace'"),
        ({"outputs": [["potential"]]}, "outputs ['potential'] is not known"),
        ({"threads": [2]}, "threads is 2, expected Dask threads x Numba threads, for example 2x1"),
        ({"threads": ["2x0"]}, "threads is '2x0'"),
        ({"workers": [0]}, "workers is 0"),
        ({"seed": [-1]}, "seed is -1"),
        ({"repeats": [1]}, "repeats is [1]"),
        ({"timeout": 0}, "timeout is 0, expected seconds above 0"),
        ({"exclude": {"n": 500}}, "exclude is {'n': 500}, expected a list"),
        ({"exclude": [{"n": 7}]}, "exclude[0] matches no case"),
        ({"exclude": [{"m": 7}]}, "exclude[0]: key 'm' is not known"),
        ({"exclude": [{"n": 500}]}, "nothing is left"),
        ({"cases": [{"n": 7}]}, "cases[0]: distribution is missing"),
        ({"cases": [{"n": []}]}, "cases[0]: n is empty"),
        ({"cases": [7]}, "cases[0] is 7"),
        ({"cases": [{"repeats": 7}]}, "cases[0]: key 'repeats' is not known"),
    ],
)
def test_what_a_matrix_cannot_mean(written, change, words):
    """One line, exit code 2, nothing run."""
    with pytest.raises(InputError) as caught:
        matrix.parse(SMALL | change)
    assert words in str(caught.value)
    failed = invoke(written(SMALL | change)) if change != {"outputs": [["potential"]]} else None
    if failed is not None:
        assert failed.exit_code == 2
        assert words in " ".join(failed.output.split())


def test_missing_keys_and_files(tmp_path, written):
    for content in ({"n": [5]}, {}, [1], None, "n"):
        with pytest.raises(InputError):
            matrix.parse(content)
    arguments = written(SMALL)
    for wrong in (["absent.yaml", *arguments[1:]], [arguments[0], "--config", "absent.yaml"]):
        failed = invoke(wrong)
        assert failed.exit_code == 2
        assert "absent.yaml" in failed.output
    (tmp_path / "matrix.yaml").write_text("n: [1")
    assert "cannot be read" in invoke(arguments).output


@each("path", sorted((ROOT / "benchmarks" / "matrices").glob("*.yaml")))
def test_shipped_matrices(path):
    assert len(matrix.read(path).cases) > 3


# --- threads and workers


def test_the_case_decides_threads_and_workers():
    case = replace(CASE, dask_threads=3, numba_threads=2)
    found = scheduling.for_case(
        {"scheduler": "threads", "num_workers": 9, "taskfmm": {"numba_threads": 7}}, case
    )
    assert found["num_workers"] == 3
    assert dask.config.get("taskfmm.numba-threads", config=found) == 2
    config = {"taskfmm": {"cluster": {"kind": "local", "n_workers": 9, "memory-limit": "1GiB"}}}
    case = replace(case, workers=4)
    found = scheduling.for_case(config, case)
    assert dask.config.get("taskfmm.cluster.n-workers", config=found) == 4
    assert dask.config.get("taskfmm.cluster.threads-per-worker", config=found) == 3
    assert dask.config.get("taskfmm.cluster.memory-limit", config=found) == "1GiB"
    assert config == {"taskfmm": {"cluster": {"kind": "local", "n_workers": 9, "memory-limit": "1GiB"}}}


@each("workers, per_job", [(8, 4), (6, 2), (3, 1)])
def test_slurm_starts_whole_jobs(workers, per_job):
    config = {"taskfmm": {"cluster": {"kind": "slurm"}}, "jobqueue": {"slurm": {"processes": 4, "cores": 16}}}
    found = scheduling.for_case(config, replace(CASE, workers=workers, dask_threads=5))["jobqueue"]["slurm"]
    assert found == {"processes": per_job, "cores": 5 * per_job}


@each(
    "config, change, words",
    [
        (THREADS, {"workers": 2}, "workers is 2"),
        ({"scheduler": "synchronous"}, {"threads": "2x1"}, "threads is 2x1"),
        (THREADS | {"taskfmm": {"cluster": {"kind": None}}}, {"workers": 2}, "workers is 2"),
    ],
)
def test_threads_that_a_scheduler_has_not(written, config, change, words):
    failed = invoke(written(SMALL | change, config))
    assert failed.exit_code == 2
    assert words in failed.output
