"""The asset model and its codecs. Knows no gRPC, no database and no network."""
