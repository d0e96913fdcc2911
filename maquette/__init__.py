"""Maquette: a self-hosted backend for making 3D assets."""

__version__ = "0.1.0"
