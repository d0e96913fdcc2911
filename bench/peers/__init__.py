"""What the mesh is compared with: the plain way to do the same."""
