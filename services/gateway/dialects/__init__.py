"""REST dialects, one folder each, twins of `protos/maquette/api/dialects`."""
