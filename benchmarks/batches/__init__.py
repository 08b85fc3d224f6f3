"""The parts of `benchmarks.batch`: matrix, schedulers, one case, all of them, table, plots, job array."""
