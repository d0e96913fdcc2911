"""Dialect "aigc": the 3D Generative Models API."""
