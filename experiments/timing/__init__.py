"""Timed comparisons."""
