"""Long checks that are no tests: commands that are killed, memory over time, random input, faults put in by hand.

The tests of Stable-Baselines3 and sb3-contrib with our algorithms are here as well. ``python -m stress CHECK`` writes
the table of ``kills``, ``soak``, ``fuzz``, ``mutants`` or ``sb3`` as CSV, and ``python -m stress.mutation`` that of
faults at random places; ``make stress`` makes them all, at small sizes.
"""
