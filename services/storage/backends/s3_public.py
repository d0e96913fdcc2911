"""Objects of a bucket under keys that people may see, with links to them."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from urllib.parse import quote

from services.storage.backends.base import in_thread
from services.storage.backends.s3 import S3Backend, S3Config, connect, s3_errors


class S3Bucket:
    """The published part of the bucket that the blobs lie in."""

    def __init__(
        self, backend: S3Backend, config: S3Config, public_endpoint: str, executor: Executor
    ) -> None:
        """``public_endpoint`` is the bucket's server as clients reach it; empty: as we do."""
        self._backend = backend
        self._config = config
        self._executor = executor
        self._client = connect(config)
        seen = replace(config, endpoint=public_endpoint) if public_endpoint else config
        self._public = connect(seen)

    def full_key(self, key: str) -> str:
        """Return a key with the bucket's prefix."""
        return f"{self._config.prefix}{key}"

    async def copy(self, digest: str, key: str, media_type: str, filename: str) -> None:
        """Put a blob's bytes under a key of its own, by a copy within the bucket."""

        def copy() -> None:
            with s3_errors():
                # In parts where it is large: one copy takes 5 GiB at most.
                self._client.copy(
                    {"Bucket": self._config.bucket, "Key": self._backend.key(digest)},
                    self._config.bucket,
                    self.full_key(key),
                    ExtraArgs={
                        "ContentType": media_type or "application/octet-stream",
                        "ContentDisposition": f"attachment; filename*=UTF-8''{quote(filename)}",
                        "MetadataDirective": "REPLACE",
                    },
                )

        await in_thread(self._executor, copy)

    async def delete(self, key: str) -> None:
        """Remove an object; none is no harm."""

        def delete() -> None:
            with s3_errors():
                self._client.delete_object(Bucket=self._config.bucket, Key=self.full_key(key))

        await in_thread(self._executor, delete)

    def presigned(self, key: str, seconds: int) -> str:
        """Return a link that opens an object for so long. Nothing is sent."""
        where = {"Bucket": self._config.bucket, "Key": self.full_key(key)}
        return self._public.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)

    def direct(self, key: str) -> str:
        """Return the object's own address."""
        endpoint = self._public.meta.endpoint_url.rstrip("/")
        return f"{endpoint}/{self._config.bucket}/{quote(self.full_key(key))}"
