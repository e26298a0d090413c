"""``ardae-rl benchmark`` and ``ardae-rl report``: grids of training runs, and reports about them."""
