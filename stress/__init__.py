"""Long checks that are no tests: commands that are killed, memory over time, random input, faults put in by hand.

``python -m stress kills|soak|fuzz|mutants`` writes a table as CSV; ``make stress`` makes all of them at small sizes.
"""
