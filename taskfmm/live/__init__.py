"""Operators as they run: what tasks took beside their forecast, on the dashboard and as a picture."""
