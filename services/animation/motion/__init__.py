"""Motions of a figure of our own: poses by anatomical channels, gaits and choreography."""
