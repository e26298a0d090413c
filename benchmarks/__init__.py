"""Timed comparisons and trainings whose results are committed under `benchmarks/results`; never part of the tests."""
