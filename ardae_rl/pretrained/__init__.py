"""Trained models that come with the package, and functions to list, load and share them."""

from ardae_rl.pretrained.catalog import PretrainedModel, load_pretrained, pretrained_models
from ardae_rl.pretrained.hub import load_from_hub, push_to_hub

__all__ = ["PretrainedModel", "load_from_hub", "load_pretrained", "pretrained_models", "push_to_hub"]
