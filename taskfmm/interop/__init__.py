"""Bridges: the functions of other packages, computed by taskfmm, so that programs written for them run unchanged."""
