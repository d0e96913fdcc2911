"""Clients that do what clients should: name their submits, and try again until they are answered."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from google.protobuf import any_pb2, struct_pb2

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from tests.chaos.doors import Doors
from tests.chaos.engines import MODEL

ACCOUNT = "public"
RAW_MESH = "/api/v1/mesh-generation/image-to-raw-mesh"
_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
_PATIENCE_SECONDS = 60.0


def key_of(job_id: str) -> jobs_pb2.JobKey:
    """Name a job."""
    return jobs_pb2.JobKey(account_id=ACCOUNT, id=job_id)


async def again(call: Any, request: Any, seconds: float = _PATIENCE_SECONDS) -> Any:
    """Make a unary call, again when the service went away under it."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await call(request, timeout=10, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AGAIN or asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.05)


async def submit(
    doors: Doors,
    feature: str = "chaos_sleep",
    *,
    seed: int = 0,
    key: str = "",
    inputs: tuple[capability_pb2.TaskInput, ...] = (),
    **parameters: Any,
) -> str:
    """Submit a job of one task to `jobs`, and return its id."""
    packed = any_pb2.Any()
    struct = struct_pb2.Struct()
    struct.update(parameters)
    packed.Pack(struct)
    task = jobs_pb2.TaskSpec(
        name="task",
        feature=feature,
        parameters=packed,
        seed=seed,
        inputs=[jobs_pb2.InputRef(role=entry.role, file=entry) for entry in inputs],
    )
    request = jobs_pb2.CreateJobRequest(
        account_id=ACCOUNT,
        dialect="chaos",
        feature=feature,
        idempotency_key=key,
        request_digest=hashlib.sha256(task.SerializeToString(deterministic=True)).hexdigest() if key else "",
        tasks=[task],
    )
    return str((await again(doors.jobs.CreateJob, request)).job.id)


async def cancel(doors: Doors, job_id: str) -> jobs_pb2.Job:
    """Cancel a job and return it as it is then."""
    answer = await again(doors.jobs.CancelJob, jobs_pb2.CancelJobRequest(key=key_of(job_id)))
    job: jobs_pb2.Job = answer.job
    return job


async def read_job(doors: Doors, job_id: str) -> jobs_pb2.Job:
    """Return a job as it is now."""
    job: jobs_pb2.Job = (await again(doors.jobs.GetJob, jobs_pb2.GetJobRequest(key=key_of(job_id)))).job
    return job


async def store(doors: Doors, data: bytes, role: str = "image") -> capability_pb2.TaskInput:
    """Keep bytes in storage and return them as a task's input."""
    parts = [
        storage_pb2.WriteBlobRequest(
            header=storage_pb2.WriteBlobRequest.Header(retention=storage_pb2.RETENTION_EXAMPLE)
        ),
        storage_pb2.WriteBlobRequest(chunk=data),
        storage_pb2.WriteBlobRequest(commit=storage_pb2.WriteBlobRequest.Commit()),
    ]
    answer = await doors.storage.WriteBlob(iter(parts), timeout=20)
    return capability_pb2.TaskInput(
        role=role, digest=answer.digest, size=answer.size, media_type="image/png", filename="picture.png"
    )


@dataclass
class RestClient:
    """A client of the REST API that gives up on nothing but a refusal."""

    doors: Doors
    retries: int = 0

    async def send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request again until it is answered by something else than 5xx."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE_SECONDS
        last = ""
        while loop.time() < end:
            try:
                answer = await self.doors.http.request(method, path, **arguments)
                if answer.status_code < 500:
                    return answer
                last = f"{answer.status_code} {answer.text}"
            except httpx.TransportError as error:
                last = repr(error)
            self.retries += 1
            await asyncio.sleep(0.05)
        raise AssertionError(f"{method} {path} was never answered; last: {last}")

    async def upload(self, picture: bytes) -> str:
        """Upload a picture and return its id."""
        files = {"file": ("picture.png", picture, "image/png")}
        answer = await self.send("POST", "/api/v1/file-upload/image", files=files)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["file_id"])

    async def submit(self, file_id: str, key: str, seed: int, model: str = MODEL) -> str:
        """Submit a picture under an idempotency key and return the job's id."""
        body = {"image_file_id": file_id, "model_preference": model, "seed": seed, "output_format": "glb"}
        answer = await self.send("POST", RAW_MESH, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])
