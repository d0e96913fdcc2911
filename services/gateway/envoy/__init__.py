"""Envoy in front of the gateway: its configuration, made from the descriptor set."""
