"""What an ordinary core takes for the two things that everything is made of.

They weigh one operator against another, to cut equal shards and to choose leaves and orders. No result depends
on them.
"""

PAIR = 1.0e-9
"""Seconds for one kernel evaluation."""

MULTIPLY_ADD = 2.5e-11
"""Seconds for one multiply-add inside a matrix product."""
