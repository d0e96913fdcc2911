"""What storage counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RECEIVED_BYTES = Counter("maquette_storage_received_bytes", "Bytes of blobs written.")
SENT_BYTES = Counter("maquette_storage_sent_bytes", "Bytes of blobs read.")
WRITES = Counter("maquette_storage_writes", "Writes by how they ended.", ["outcome"])
REMOVED_BLOBS = Counter("maquette_storage_removed_blobs", "Blobs whose bytes were removed.")
FREED_BYTES = Counter("maquette_storage_freed_bytes", "Bytes that removals freed.")
EXPIRED_UPLOADS = Counter("maquette_storage_expired_uploads", "Uploads that reached their end.")
SWEEPS = Counter("maquette_storage_sweeps", "Sweeps by how they ended.", ["outcome"])
FREE_BYTES = Gauge("maquette_storage_free_bytes", "Room left on the disk at the last look.")
