"""What the latent world-model algorithms share: the training loop, sequences, image networks."""
