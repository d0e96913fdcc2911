"""Remote engines in real nodes, before fakes of their providers."""
