"""How every capability serves `Run`: engines in sandboxed workers, honest results, true progress.

`serve_capability` is what a capability's composition root calls. The child half
(:mod:`maquette.runtime.capability.engines`) is imported by workers, so this package imports
nothing by itself.
"""
