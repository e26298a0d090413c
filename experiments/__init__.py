"""The experiments behind the tables and figures, each a :class:`~experiments.figure.Figure`."""
