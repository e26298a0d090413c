"""Figures of deep variational Bayes filters: models learned from a pendulum."""
