"""Code shared by the latent world-model algorithms: training loop, sequence sampling and image networks."""
