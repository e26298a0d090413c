"""Trained models that come with the package: their list, their loading, and how one is added."""

from ardae_rl.pretrained.catalog import PretrainedModel, load_pretrained, pretrained_models
from ardae_rl.pretrained.hub import load_from_hub, push_to_hub

__all__ = ["PretrainedModel", "load_from_hub", "load_pretrained", "pretrained_models", "push_to_hub"]
