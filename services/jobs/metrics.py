"""Count what the ledger does, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60)

SUBMITS = Counter("maquette_jobs_submits_total", "Submits by outcome.", ["outcome"])
SUBMIT_SECONDS = Histogram("maquette_jobs_submit_seconds", "Submit to durable answer.", buckets=_FAST)
BATCH = Histogram(
    "maquette_jobs_submit_batch", "Submits in one transaction.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
CLAIMS = Counter("maquette_jobs_claims_total", "Attempts begun.")
COMMITS = Counter("maquette_jobs_commits_total", "Task ends committed.", ["state"])
REFUSED = Counter("maquette_jobs_refused_commits_total", "Commits and renewals of leases that were lost.")
RELEASES = Counter("maquette_jobs_releases_total", "Attempts given back.", ["cost", "reason"])
ENDED = Counter("maquette_jobs_ended_total", "Jobs ended, as seen here.", ["state"])
RUNNING = Gauge("maquette_jobs_running", "Attempts this replica drives.")
WAITING = Gauge("maquette_jobs_waiting_tasks", "Tasks that could run now.", ["feature"])
EXPIRED_KEYS = Counter("maquette_jobs_expired_keys_total", "Idempotency keys forgotten.")
REMOVED_JOBS = Counter("maquette_jobs_removed_total", "Ended jobs forgotten.")
NODES = Gauge("maquette_jobs_nodes", "Nodes that announce themselves.", ["capability"])
WAIT_SECONDS = Histogram("maquette_jobs_wait_seconds", "Submit to first claim.", buckets=_FAST)
