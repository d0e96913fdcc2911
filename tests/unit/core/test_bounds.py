"""Requests outside the bounds their protos state are refused."""

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.rpc.bounds import validate

GOOD_DIGEST = "0" * 64


@pytest.mark.parametrize(
    "message",
    [
        storage_pb2.ReadBlobRequest(digest=GOOD_DIGEST),
        meshgen_pb2.ImageToMesh(output_format="glb", texture_resolution=4096),
        jobs_pb2.GetJobRequest(key=jobs_pb2.JobKey(account_id="public", id="x")),
        jobs_pb2.ListJobsRequest(account_id="public"),
    ],
)
def test_a_message_within_its_bounds_passes(message):
    validate(message)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (storage_pb2.ReadBlobRequest(digest="../../etc/passwd"), "digest does not have the form"),
        (storage_pb2.ReadBlobRequest(digest=GOOD_DIGEST + "\n"), "digest does not have the form"),
        (meshgen_pb2.ImageToMesh(texture_resolution=1), "output_format is required"),
        (
            meshgen_pb2.ImageToMesh(output_format="glb", texture_resolution=4097),
            "texture_resolution must be at most",
        ),
        (capability_pb2.RunRequest(feature="f", engine_id="e"), "task_id is required"),
        (jobs_pb2.ListJobsRequest(account_id="public", page_size=501), "page_size must be at most 500"),
    ],
)
def test_a_message_outside_its_bounds_is_refused_by_name(message, problem):
    with pytest.raises(InvalidArgument, match=problem) as caught:
        validate(message)
    assert caught.value.reason == "INVALID_VALUE"


def test_nested_messages_are_checked_and_named_by_their_path():
    request = jobs_pb2.CreateJobRequest(account_id="public", dialect="aigc", feature="f")
    request.tasks.add(name="mesh", feature="f")
    request.tasks.add(name="x" * 65, feature="f")
    with pytest.raises(InvalidArgument, match=r"tasks\[1\]\.name is longer than 64"):
        validate(request)


def test_too_many_items_are_refused():
    request = storage_pb2.ReleaseBlobsRequest(digests=[GOOD_DIGEST] * 1001)
    with pytest.raises(InvalidArgument, match="digests has more than 1000 items"):
        validate(request)
