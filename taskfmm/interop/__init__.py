"""Modules that answer the calls of other programs in place of the packages that these were written for."""
