"""Take in a request for a job: body, picture, model, then one durable job in the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from google.api import httpbody_pb2
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.message import Message

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MaquetteError,
    NotFound,
    Unavailable,
)
from maquette.runtime.settings import GatewaySettings
from maquette.runtime.telemetry import get_logger
from services.gateway.backends import Backends, call
from services.gateway.body_reader import BodyReader, Event, FileBegins, FileBytes
from services.gateway.capabilities import NodeDirectory
from services.gateway.dialects.aigc.requests import ImageRequest, check_model, read_image_request
from services.gateway.dialects.aigc.words import NAME, Feature
from services.gateway.feed import Feed
from services.gateway.ingest import FileKind, Ingestion, Ingestor
from services.gateway.issued import find_issued
from services.gateway.job_maker import JobMaker
from services.gateway.pace import paced
from services.gateway.uploads import Uploads

_FILES = ("image_base64", "texture_image_base64")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much of a body is read."""

    rest: int
    """Bytes of it that are not in files."""
    whole: int
    pace: GatewaySettings
    """How slowly it may come."""


class ImageSubmitter:
    """Makes jobs of pictures."""

    def __init__(
        self,
        backends: Backends,
        feed: Feed,
        nodes: NodeDirectory,
        uploads: Uploads,
        ingestor: Ingestor,
        jobs: JobMaker,
        limits: BodyLimits,
    ) -> None:
        self._backends = backends
        self._jobs = jobs
        self._feed = feed
        self._nodes = nodes
        self._uploads = uploads
        self._ingestor = ingestor
        self._limits = limits

    async def submit(
        self,
        body: AsyncIterator[httpbody_pb2.HttpBody],
        message: Message,
        feature: Feature,
        account_id: str,
        idempotency_key: str,
    ) -> jobs_pb2.Job:
        """Return the job, durable. Whatever is refused leaves no file and no row.

        ``message`` (empty) is of the type that documents the body. Raises the catalogue's errors.
        """
        async with AsyncExitStack() as stack:
            intake = _Intake(self._ingestor, stack, account_id)
            values = await self._read(body, intake)
            request = read_image_request(values, message, feature, intake.names)
            check_model(request, (await self._nodes.capabilities()).models(feature.name))
            images = await self._images(request, intake, account_id)
        digest = request.digest(feature.name, images[0].digest if request.source.inline else "")
        try:
            response = await self._create(request, images, account_id, idempotency_key, digest)
        except (Unavailable, DeadlineExceeded, Internal):
            # The job may have been stored after all: its picture lives as long as any upload.
            raise
        except MaquetteError:
            await self._discard(intake, account_id)
            raise
        if not response.created:
            await self._discard(intake, account_id)
        return self._feed.note(response.job).job

    async def _discard(self, intake: _Intake, account_id: str) -> None:
        """Remove the picture that came in a body for which no job was made."""
        if intake.upload is None:
            return
        self._uploads.forget(intake.upload)
        request = storage_pb2.DeleteUploadRequest(account_id=account_id, id=intake.upload.id)
        try:
            await call(self._backends.storage.DeleteUpload, request, self._backends.storage_channel)
        except MaquetteError as error:
            get_logger().warning("a picture stays until it expires", upload=request.id, why=error.message)

    async def _read(self, body: AsyncIterator[httpbody_pb2.HttpBody], intake: _Intake) -> dict[str, Any]:
        reader = BodyReader(_FILES, max_rest=self._limits.rest, max_body=self._limits.whole)
        async for piece in paced(body, lambda piece: len(piece.data), self._limits.pace):
            for event in reader.feed(piece.data):
                await intake.take(event)
        return reader.finish()

    async def _images(
        self, request: ImageRequest, intake: _Intake, account_id: str
    ) -> list[capability_pb2.TaskInput]:
        source = request.source
        if intake.ingestion is not None:
            facts = await intake.ingestion.inspect()
            intake.upload = await intake.ingestion.commit(facts)
            return [_input_of(intake.upload)]
        if source.file_ids:
            return [_input_of(await self._upload(account_id, file_id=one)) for one in source.file_ids]
        return [await self._issued(account_id, source.path)]

    async def _upload(self, account_id: str, *, file_id: str = "", path: str = "") -> storage_pb2.Upload:
        upload = await self._uploads.find(account_id, file_id=file_id, path=path)
        if upload.kind != storage_pb2.UPLOAD_KIND_IMAGE:
            raise InvalidArgument("The file given as the image is not a picture.")
        return upload

    async def _issued(self, account_id: str, path: str) -> capability_pb2.TaskInput:
        """Return the picture that an issued path stands for: an upload's or a result's."""
        try:
            return _input_of(await self._upload(account_id, path=path))
        except NotFound:
            pass  # then it may be a result's
        try:
            artifact = await find_issued(self._backends, account_id, path)
        except NotFound as error:
            raise InvalidArgument("image_path takes only paths that this API issued.") from error
        if not artifact.media_type.startswith("image/"):
            raise InvalidArgument("The file given as the image is not a picture.")
        return capability_pb2.TaskInput(
            role="image",
            digest=artifact.digest,
            size=artifact.size,
            media_type=artifact.media_type,
            filename=artifact.filename,
        )

    async def _create(
        self,
        request: ImageRequest,
        images: Sequence[capability_pb2.TaskInput],
        account_id: str,
        idempotency_key: str,
        digest: str,
    ) -> jobs_pb2.CreateJobResponse:
        job = jobs_pb2.CreateJobRequest(
            account_id=account_id,
            dialect=NAME,
            feature=request.feature.name,
            request=_words(request, images[0]),
            idempotency_key=idempotency_key,
            request_digest=digest if idempotency_key else "",
            tasks=[_task(request, images)],
        )
        return await self._jobs.create(job)


class _Intake:
    """Feeds the files of a body into ingestions."""

    def __init__(self, ingestor: Ingestor, stack: AsyncExitStack, account_id: str) -> None:
        self._ingestor = ingestor
        self._stack = stack
        self._account_id = account_id
        self.ingestion: Ingestion | None = None
        self.upload: storage_pb2.Upload | None = None
        """What became of it."""
        self.names: list[str] = []

    async def take(self, event: Event) -> None:
        """Open, fill or end an ingestion."""
        if isinstance(event, FileBytes):
            if self.ingestion is not None:
                await self.ingestion.write(event.data)
        elif isinstance(event, FileBegins):
            if event.name != "image_base64":
                raise InvalidArgument(f"{event.name} is not supported: no engine takes a second picture.")
            if self.names:
                raise InvalidArgument(f"The body names {event.name!r} twice.")
            self.names.append(event.name)
            opening = self._ingestor.open(FileKind.IMAGE, "image", self._account_id)
            self.ingestion = await self._stack.enter_async_context(opening)


def _input_of(upload: storage_pb2.Upload) -> capability_pb2.TaskInput:
    return capability_pb2.TaskInput(
        role="image",
        digest=upload.digest,
        size=upload.size,
        media_type=upload.media_type,
        filename=upload.filename,
    )


def _task(request: ImageRequest, images: Sequence[capability_pb2.TaskInput]) -> jobs_pb2.TaskSpec:
    parameters = any_pb2.Any()
    parameters.Pack(
        meshgen_pb2.ImageToMesh(
            output_format=request.output_format,
            texture_resolution=request.texture_resolution,
            quality=request.quality,
            views=request.views,
        )
    )
    return jobs_pb2.TaskSpec(
        name="mesh",
        feature=request.feature.name,
        parameters=parameters,
        inputs=[jobs_pb2.InputRef(role="image", file=image) for image in images],
        model_preference=request.model_preference,
        fallback=jobs_pb2.FALLBACK_DENY if request.deny_fallback else jobs_pb2.FALLBACK_ALLOW,
        weight=1.0,
        phase="mesh",
        seed=request.seed,
    )


def _words(request: ImageRequest, image: capability_pb2.TaskInput) -> struct_pb2.Struct:
    """Write the request in the dialect's own words, and which picture it was about, the first of several."""
    words = struct_pb2.Struct()
    words.update(
        {
            "inputs": dict(request.given),
            "image": {
                "filename": image.filename,
                "size": image.size,
                "media_type": image.media_type,
                "digest": image.digest,
            },
        }
    )
    return words
