"""What a pipeline costs between its steps: from a step's commit to the next one's run."""

from __future__ import annotations

import asyncio
import statistics

from google.protobuf import any_pb2

from bench.mesh import BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings

_STEPS = 12
_JOBS = 10
# The first jobs of a mesh meet statements that PostgreSQL has not planned for good.
_WARM = 2
_MESHES = 3


def main() -> Report:
    """Measure a chain of quick steps, each of which reads what the one before made."""
    gaps = []
    for _ in range(_MESHES):
        # Two slots: in a pipeline the next step's node is another, and free.
        with running_mesh(CAPABILITY__SLOTS="2") as mesh:
            gaps += asyncio.run(_measure(mesh))
    report = Report(
        "steps",
        [Bar("commit to the next Run, p50", statistics.median(gaps), "ms", maximum=10)],
        {
            "gaps": len(gaps),
            "steps_of_a_job": _STEPS,
            # From when `jobs` knew that a step was committed to when it heard that a node had accepted
            # the next one; in between lie a claim, which is durable too, and the call.
            "commit_to_run_ms": {
                "p50": round(statistics.median(gaps), 2),
                "p90": round(sorted(gaps)[int(0.9 * (len(gaps) - 1))], 2),
                "max": round(max(gaps), 2),
            },
            "load_average": load_average(),
        },
    )
    report.write()
    return report


async def _measure(mesh: BenchMesh) -> list[float]:
    settings = Settings(data_dir=mesh.data_dir, port=mesh.port)
    async with open_channel(settings, settings.address("jobs"), privileged=True) as channel:
        stub: jobs_pb2_grpc.JobServiceAsyncStub = jobs_pb2_grpc.JobServiceStub(channel)
        jobs = [await _chain(stub) for _ in range(_WARM + _JOBS)]
    return [gap for job in jobs[_WARM:] for gap in job]


async def _chain(stub: jobs_pb2_grpc.JobServiceAsyncStub) -> list[float]:
    """Run one job; return the milliseconds between each commit and the next run."""
    request = jobs_pb2.CreateJobRequest(
        account_id="public", dialect="bench", feature="steps", tasks=[_step(n) for n in range(_STEPS)]
    )
    job = (await stub.CreateJob(request)).job
    key = jobs_pb2.JobKey(account_id=job.account_id, id=job.id)
    begun: list[float] = []
    ended: dict[str, float] = {}
    async for answer in stub.WatchJob(jobs_pb2.WatchJobRequest(key=key)):
        moment = answer.event.time.ToNanoseconds() / 1e6
        if answer.event.type == jobs_pb2.EVENT_TYPE_STARTED:
            begun.append(moment)
        last = answer.event.job
        for task in last.tasks:
            if task.state == jobs_pb2.STATE_SUCCEEDED:
                ended.setdefault(task.name, moment)
    if last.state != jobs_pb2.STATE_SUCCEEDED or len(begun) != _STEPS:
        raise RuntimeError(f"{len(begun)} of {_STEPS} steps ran: {last.error.message}")
    return [after - before for before, after in zip(list(ended.values())[:-1], begun[1:], strict=True)]


def _step(number: int) -> jobs_pb2.TaskSpec:
    parameters = any_pb2.Any()
    parameters.Pack(meshgen_pb2.ImageToMesh(output_format="glb"))
    before = jobs_pb2.InputRef.OutputRef(task=f"step{number - 1}", role="mesh")
    return jobs_pb2.TaskSpec(
        name=f"step{number}",
        feature="image_to_raw_mesh",
        parameters=parameters,
        inputs=[jobs_pb2.InputRef(role="image", output=before)] if number else [],
        model_preference="bench_stamp",
    )


if __name__ == "__main__":
    main()
