"""The job's graph: image → mesh → publish → (retexture) → rig → animation × N, each published once.

What may fail without failing the job: painting, the rig, each animation, and every second form. A step
whose input was not made for such a failure ends with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf import any_pb2
from google.protobuf.message import Message

from maquette.api.animation.v1 import animation_pb2
from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.api.rigging.v1 import rigging_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.settings import PipelineSettings
from services.gateway.dialects.animate.requests import AnimateRequest
from services.gateway.dialects.animate.words import PHASES

MESH, RETEXTURE, RIG, ANIMATE, PUBLISH = (
    "image_to_textured_mesh",
    "retexture",
    "auto_rig",
    "animate",
    "publish",
)
"""Features of the steps."""
LINKS = "links"
"""Phase of the steps that clients see nothing of but their links."""
_LIGHT = 0.5
_MADE, _PUBLISHED, _FBX = "mesh", "published", "fbx"


@dataclass(frozen=True, slots=True)
class Plan:
    """What of the graph depends on the engines that are there."""

    engines: PipelineSettings
    retexture: bool
    """The mesh is painted anew."""
    rig_fbx: bool = False
    """A second run writes the rig as FBX; remote engines bring theirs with the first."""
    animation_fbx: bool = False


def pipeline(request: AnimateRequest, image: capability_pb2.TaskInput, plan: Plan) -> list[jobs_pb2.TaskSpec]:
    """Return the tasks of a job."""
    engines = plan.engines
    mesh = meshgen_pb2.ImageToMesh(
        output_format="glb", pose="a-pose" if request.animation_ids else "", texture_resolution=1024
    )
    picture = jobs_pb2.InputRef(role="image", file=image)
    tasks = [
        _step("mesh", MESH, mesh, [picture], engine=engines.mesh_engine),
        _publish("publish", "model.glb", [_made("mesh")], phase="upload", soft=False),
    ]
    model = _read("publish", _PUBLISHED)
    if plan.retexture:
        parameters = meshgen_pb2.Retexture(output_format="glb")
        tasks += [
            _step(
                "retexture",
                RETEXTURE,
                parameters,
                [model, picture],
                engine=engines.retexture_engine,
                soft=True,
            ),
            _publish("publish_retexture", "model.glb", [_made("retexture")]),
        ]
        model = _read("publish_retexture", _PUBLISHED, otherwise="publish")
    if request.animation_ids:
        tasks += _character(request, model, plan)
    return tasks


def _character(request: AnimateRequest, model: jobs_pb2.InputRef, plan: Plan) -> list[jobs_pb2.TaskSpec]:
    engines = plan.engines
    rig = rigging_pb2.AutoRig(
        rig_mode="full",
        character_type="humanoid",
        output_format="glb",
        height_meters=request.height_meters,
    )
    tasks = [
        _step("rig", RIG, rig, [model], engine=engines.rig_engine, soft=True),
        _publish("publish_rig", "rigged.glb", [_made("rig"), _read("rig", _FBX, optional=True)]),
    ]
    if plan.rig_fbx:
        # The rig that the first run made, as it is: only its weights are found anew.
        again = rigging_pb2.AutoRig(rig_mode="skin", output_format="fbx")
        tasks += [
            _step("rig_fbx", RIG, again, [_made("rig")], engine=engines.rig_engine, soft=True, phase=LINKS),
            # By itself: the first form's link shall not wait for it.
            _publish("publish_rig_fbx", "rigged.fbx", [_made("rig_fbx")]),
        ]
    for number in request.animation_ids:
        tasks += _animation(request, number, plan)
    return tasks


def _animation(request: AnimateRequest, number: int, plan: Plan) -> list[jobs_pb2.TaskSpec]:
    name, item = animation_step(number), str(number)
    weight = PHASES["animation"].weight / len(request.animation_ids)

    def move(output_format: str, *, again: bool = False) -> animation_pb2.Animate:
        return animation_pb2.Animate(
            motions=[item], fps=request.fps, output_format=output_format, no_pictures=again
        )

    engine = plan.engines.animation_engine
    step = partial(_step, feature=ANIMATE, inputs=[_made("rig")], engine=engine, soft=True, item=item)
    tasks = [step(name, parameters=move("glb"), phase="animation", weight=weight)]
    links = [_made(name), _read(name, _FBX, optional=True)]
    if plan.animation_fbx:
        again = f"{name}_fbx"
        # No second form before every first one.
        first = [animation_step(other) for other in request.animation_ids]
        tasks.append(step(again, parameters=move("fbx", again=True), phase=LINKS, after=first))
        links[1] = _read(again, _MADE, optional=True)
    tasks.append(_publish(f"publish_{name}", f"anim_{number}.glb", links, item=item))
    return tasks


def animation_step(number: int) -> str:
    """Return the name of an animation's task."""
    return f"anim_{number}"


def _step(
    name: str,
    feature: str,
    parameters: Message,
    inputs: Sequence[jobs_pb2.InputRef],
    *,
    engine: str = "",
    soft: bool = False,
    phase: str = "",
    item: str = "",
    weight: float = 0.0,
    after: Sequence[str] = (),
) -> jobs_pb2.TaskSpec:
    packed = any_pb2.Any()
    packed.Pack(parameters)
    shown = PHASES.get(phase or name)
    return jobs_pb2.TaskSpec(
        name=name,
        feature=feature,
        parameters=packed,
        inputs=inputs,
        after=after,
        model_preference=engine,
        # Who names an engine does not want another one in its place.
        fallback=jobs_pb2.FALLBACK_DENY if engine else jobs_pb2.FALLBACK_ALLOW,
        weight=weight or (shown.weight if shown else _LIGHT),
        soft_fail=soft,
        phase=phase or name,
        item=item,
    )


def _publish(
    name: str,
    filename: str,
    inputs: Sequence[jobs_pb2.InputRef],
    *,
    phase: str = LINKS,
    item: str = "",
    soft: bool = True,
) -> jobs_pb2.TaskSpec:
    wanted = storage_pb2.Publish(filename=filename)
    return _step(name, PUBLISH, wanted, inputs, soft=soft, phase=phase, item=item)


def _made(task: str) -> jobs_pb2.InputRef:
    return _read(task, _MADE)


def _read(task: str, role: str, *, otherwise: str = "", optional: bool = False) -> jobs_pb2.InputRef:
    def output(name: str) -> jobs_pb2.InputRef.OutputRef:
        return jobs_pb2.InputRef.OutputRef(task=name, role=role)

    others = [output(otherwise)] if otherwise else []
    return jobs_pb2.InputRef(role="mesh", output=output(task), otherwise=others, optional=optional)
