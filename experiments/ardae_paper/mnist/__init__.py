"""Variational autoencoders on MNIST with five kinds of posterior (Section 6.2, Appendix F.3, Tables 5 and 6)."""
