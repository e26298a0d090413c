"""``python -m ardae_rl`` is the ``ardae-rl`` command."""

from ardae_rl.cli.main import main

if __name__ == "__main__":
    main()
