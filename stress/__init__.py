"""Long checks outside the test suite: killed commands, memory over time, random input, faults inserted by hand.

The tests of Stable-Baselines3 and sb3-contrib with our algorithms are here as well. ``python -m stress CHECK`` writes
the table of ``kills``, ``soak``, ``fuzz``, ``mutants`` or ``sb3`` as CSV, and ``python -m stress.mutation`` that of
faults at random places; ``make stress`` runs them all, at small sizes.
"""
