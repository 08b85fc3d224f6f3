"""The parts of `benchmarks.batch`: the matrix, the schedulers, one case, all cases, the table, the plots, the array."""
