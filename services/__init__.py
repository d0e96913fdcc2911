"""The services of the mesh, one package each; they never import each other."""
