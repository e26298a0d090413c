"""Experiments in the mazes with several goals."""
