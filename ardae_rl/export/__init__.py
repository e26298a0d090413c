"""Policies for deployment: a plain module, ``torch.export``, and ONNX."""

from ardae_rl.export.policies import DeterministicPolicy, WorldModelDecision
from ardae_rl.export.programs import export_onnx, export_program

__all__ = ["DeterministicPolicy", "WorldModelDecision", "export_onnx", "export_program"]
