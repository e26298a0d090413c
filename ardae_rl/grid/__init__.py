"""``ardae-rl benchmark`` and ``ardae-rl report``: grids of trainings, and what they say."""
