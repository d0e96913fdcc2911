"""The curl lines of the 3D Generative Models API's document run as they are written."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

SEEDS = Path(__file__).resolve().parents[4] / "shared" / "spec" / "seeds"
SERVED = (
    "/api/v1/file-upload/image",
    "/api/v1/file-upload/mesh",
    "/api/v1/mesh-generation/image-to-textured-mesh",
    "/api/v1/auto-rigging/generate-rig",
    "/api/v1/system/jobs/",
)


def examples() -> list[str]:
    """Return the document's curl commands on routes that are served, each in one line."""
    found = next(iter(sorted(SEEDS.glob("002_*.txt"))), None)
    if found is None:
        return []
    blocks = re.findall(r"```bash\n(.*?)```", found.read_text(), re.S)
    commands = []
    for block in blocks:
        # Comments and answers stand between the commands.
        joined = re.sub(r"\\\n\s*", " ", block)
        commands += re.findall(r"^curl (?:[^'\n]|'[^']*')+", joined, re.M)
    return [c for c in commands if any(path in c for path in SERVED) and "$TOKEN" not in c]


@pytest.mark.skipif(not examples(), reason="the document is not beside the repository")
@pytest.mark.parametrize("command", examples())
def test_the_documents_curl_line_works(client, gateway, tmp_path, png, finished, file_id, command):
    picture, mesh = tmp_path / "picture.png", tmp_path / "mesh.obj"
    picture.write_bytes(png)
    mesh.write_bytes(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    command = command.replace("http://localhost:7842", gateway.url)
    command = re.sub(r"job_\d+|\{job_id\}", finished, command)
    command = re.sub(r'"image_file_id": "[^"]+"', f'"image_file_id": "{file_id}"', command)
    if '"mesh_file_id": "' in command:
        uploaded = client.post("/api/v1/file-upload/mesh", files={"file": ("mesh.obj", mesh.read_bytes())})
        command = re.sub(
            r'"mesh_file_id": "[^"]+"', f'"mesh_file_id": "{uploaded.json()["file_id"]}"', command
        )
    file = mesh if "file-upload/mesh" in command else picture
    command = re.sub(r"@/path/to/[^\"]+", f"@{file}", command)
    run = subprocess.run(
        [*shlex.split(command), "-sS", "-w", "\n%{http_code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 0, run.stderr
    body, _, status = run.stdout.rpartition("\n")
    assert status == "200", body
    if " -o " not in command:
        assert isinstance(json.loads(body), dict)
