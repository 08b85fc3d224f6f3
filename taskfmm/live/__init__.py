"""Operators as they run: what tasks took beside what was expected, on the dashboard and as a picture."""
