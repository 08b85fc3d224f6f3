"""The parts of `benchmarks.periodic`: particle-mesh codes, the search for their settings, one case."""
