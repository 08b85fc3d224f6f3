"""The bugs of `mutants.py` can still be put in; `mutations.py` shows, in an hour or so, that they are noticed."""

from __future__ import annotations

from cases import each
from mutants import MUTANTS
from mutations import ROOT, mutated, occurrences


@each("mutant", MUTANTS)
def test_each_can_be_put_in(mutant):
    assert occurrences(mutant) == 1
    compile(mutated(mutant), mutant.file, "exec")
    for name in mutant.first:
        assert (ROOT / "tests" / f"test_{name}.py").is_file()


def test_names_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
