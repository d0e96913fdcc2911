"""Prometheus metrics of a capability node."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RUNS = Counter("maquette_capability_runs_total", "Runs ended.", ("capability", "feature", "outcome"))
RUN_SECONDS = Histogram(
    "maquette_capability_run_seconds",
    "Time of a run.",
    ("capability", "feature"),
    buckets=(0.1, 0.3, 1, 3, 6, 10, 30, 60, 180, 600, 1800),
)
RUN_PEAK_MIB = Histogram(
    "maquette_capability_run_peak_mib",
    "Most resident memory of a run's worker.",
    ("capability", "feature"),
    buckets=(128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384),
)
REMOTE = Gauge("maquette_capability_remote_runs", "Runs that wait for a remote provider.", ("capability",))
BUSY = Gauge("maquette_capability_busy_slots", "Slots that run a task.", ("capability",))
