"""The curl lines of the picture-to-animation document run as they are written, on the port that it names."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

SEEDS = Path(__file__).resolve().parents[4] / "shared" / "spec" / "seeds"


def commands() -> list[str]:
    """Return the document's curl commands, each in one line."""
    found = next(iter(sorted(SEEDS.glob("000_*.txt"))), None)
    if found is None:
        return []
    blocks = re.findall(r"```bash\n(.*?)```", found.read_text(), re.S)
    joined = [re.sub(r"\\\n\s*", " ", block) for block in blocks]
    return [line.strip() for block in joined for line in block.splitlines() if "curl" in line]


@pytest.fixture
def curl(gateway, tmp_path, figure):
    """Run a command in a folder with the document's picture; its port leads to the gateway under test."""
    (tmp_path / "your_image.jpg").write_bytes(figure)
    # The lines name localhost:8000: curl's own settings, not the lines, say where that is.
    port = gateway.settings.port
    (tmp_path / ".curlrc").write_text(f'connect-to = "localhost:8000:127.0.0.1:{port}"\nsilent\n')

    def run(command: str) -> dict:
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "CURL_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.skipif(not commands(), reason="the document is not beside the repository")
def test_the_documents_curl_lines_work_as_they_are_written(curl):
    submit, poll = commands()
    assert "http://localhost:8000/animate/image" in submit
    started = curl(submit)
    assert started["status"] == "queued"
    status = curl(poll.removeprefix("watch -n 2 ").replace("{job_id}", started["job_id"]))
    assert (status["job_id"], status["status"], status["progress"]) == (started["job_id"], "queued", 0)
