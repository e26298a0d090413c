"""The figures of the AR-DAE paper (Lim et al. 2020, https://arxiv.org/abs/2006.05164)."""
