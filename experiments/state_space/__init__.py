"""Figures of deep variational Bayes filters: what is learnt of a pendulum."""
