"""Modules that answer the calls of other programs, under the names by which these import them."""
