"""Skeletons and skin weights for character meshes."""
