"""The ``ardae-rl`` command."""
