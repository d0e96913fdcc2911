"""The one typed settings object.

Values come, strongest first, from the environment (``MAQUETTE_PORT=8000``; nested names are
joined by two underscores: ``MAQUETTE_JOBS__LEASE_SECONDS=2``), from the TOML file named by
``MAQUETTE_CONFIG`` (or ``./maquette.toml``), and from the defaults below. Every field tells its
meaning in ``description``: `docs/operations.md` is made from these.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SERVICES = ("storage", "jobs", "meshgen", "rigging", "animation", "gateway")
# A Unix socket's path has at most 107 bytes; this is the longest name below the run folder.
_LONGEST_SOCKET = 107 - len("/storage-bytes.sock")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DatabaseSettings(_Section):
    """PostgreSQL."""

    jobs_dsn: str | None = Field(None, description="DSN of role `ledger`; unset: the local PostgreSQL.")
    storage_dsn: str | None = Field(None, description="DSN of role `assets`; unset: the local PostgreSQL.")


class AddressSettings(_Section):
    """Where the services listen and are found: gRPC targets."""

    jobs: list[str] = Field([], description="Replicas of `jobs`; unset: a Unix socket.")
    storage: str = Field("", description="`storage`; unset: a Unix socket.")
    storage_bytes: str = Field(
        "",
        description="Where `storage` takes and gives the bytes of files; unset: a Unix socket, or the port "
        "after that of `addresses.storage`.",
    )
    gateway: str = Field("", description="`gateway`, as Envoy dials it; unset: a Unix socket.")
    meshgen: str = Field("", description="This `meshgen` node, as `jobs` dials it; unset: a Unix socket.")
    rigging: str = Field("", description="This `rigging` node, as `jobs` dials it; unset: a Unix socket.")
    animation: str = Field("", description="This `animation` node, as `jobs` dials it; unset: a Unix socket.")


class TlsSettings(_Section):
    """Mutual TLS between services on several machines (PEM files; all three or none)."""

    certificate: Path | None = Field(None, description="This service's certificate chain.")
    key: Path | None = Field(None, description="Its private key.")
    authority: Path | None = Field(None, description="The authority that signs every service's certificate.")


class JobsSettings(_Section):
    """The ledger."""

    listen_address: str = Field(
        "", description="gRPC target this replica listens on and is found at by others; unset: the first."
    )
    lease_seconds: float = Field(
        15.0, gt=0, description="A task whose node is silent this long is given to another."
    )
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="Longest silence asked of a running task; at most a third of the lease."
    )
    poll_seconds: float = Field(1.0, gt=0, description="Looks for waiting work and for overrun jobs.")
    queue_limit: int = Field(1000, ge=1, description="Jobs one account may have waiting.")
    time_limit_seconds: float = Field(1800.0, gt=0, description="Longest life of a job.")
    key_lifetime_seconds: float = Field(
        86_400.0,
        ge=0,
        description="An idempotency key is good this long after its job was made; 0: for ever.",
    )
    job_lifetime_seconds: float = Field(
        2_592_000.0,
        ge=0,
        description="An ended job and its result are kept this long, then forgotten; 0: for ever.",
    )
    sweep_seconds: float = Field(60.0, gt=0, description="How often old keys and jobs are looked for.")
    crash_budget: int = Field(3, ge=1, description="Attempts that a task's own worker may crash.")
    node_loss_budget: int = Field(20, ge=1, description="Attempts that may be lost with their node.")
    announce_seconds: float = Field(1.0, gt=0, description="How often nodes announce themselves.")
    silent_announces: int = Field(3, ge=1, description="Announces a node may miss before it gets no task.")
    max_write_mib: int = Field(2048, ge=1, description="Most bytes one attempt may write to storage, MiB.")
    pool_size: int = Field(8, ge=2, description="Connections to PostgreSQL of one replica.")
    create_batch: int = Field(64, ge=1, description="Most jobs stored in one transaction.")
    patience_seconds: float = Field(
        4.0, ge=0, description="A request waits this long for a database that is away."
    )
    kept_events: int = Field(128, ge=8, description="Last events kept in memory for each job.")
    kept_feed_events: int = Field(8192, ge=64, description="Events a feed may fall behind.")
    kept_seconds: float = Field(120.0, ge=0, description="Ended jobs stay in memory this long.")
    replica_seconds: float = Field(2.0, gt=0, description="How often replicas of `jobs` show they live.")
    drain_seconds: float = Field(2.0, ge=0, description="Running tasks may end in this time at a stop.")


class StorageSettings(_Section):
    """Blobs and uploads."""

    backend: Literal["local", "s3"] = Field("local", description="Where blobs lie: folder or S3 bucket.")
    local_dir: Path | None = Field(None, description="Folder of blobs; unset: `blobs` in `data_dir`.")
    s3_bucket: str = Field("", description="Bucket of backend `s3`; it must exist.")
    s3_prefix: str = Field("", description="What every key begins with, e.g. `maquette/`.")
    s3_endpoint: str = Field("", description="URL of an S3 that is not Amazon's, e.g. `http://rgw:7480`.")
    s3_public_endpoint: str = Field(
        "", description="The same server in links that clients are given; unset: `s3_endpoint`."
    )
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_access_key_id: str = Field("", description="Access key; unset: what boto3 finds by itself.")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret of the access key.")
    s3_part_mib: int = Field(8, ge=5, le=64, description="Blobs above this go in parts of this size, MiB.")
    max_blob_bytes: int = Field(2 << 30, ge=1, description="Largest blob accepted, bytes.")
    min_free_bytes: int = Field(
        1 << 30, ge=0, description="Writes are refused (STORAGE_FULL) when the disk has less left, bytes."
    )
    quota_bytes: int | None = Field(
        None, ge=0, description="Writes are refused (STORAGE_FULL) above this in total, bytes; unset: none."
    )
    upload_lifetime_seconds: float = Field(86_400.0, gt=0, description="Life of an upload.")
    url_lifetime_seconds: float = Field(
        86_400.0, gt=0, le=604_800, description="Life of a signed download URL, unless another is asked for."
    )
    grace_seconds: float = Field(
        3_600.0, ge=0, description="A blob that nothing refers to stays this long after it was last written."
    )
    sweep_seconds: float = Field(300.0, gt=0, description="How often unreferenced bytes are removed.")
    stream_idle_seconds: float = Field(
        60.0, gt=0, description="A writer that sends nothing this long is cut off and leaves nothing."
    )
    database_wait_seconds: float = Field(
        5.0, gt=0, description="A call waits this long for a database that is away, then fails UNAVAILABLE."
    )
    pool_size: int = Field(8, ge=1, description="Connections to PostgreSQL.")
    io_threads: int = Field(16, ge=2, description="Threads that read, write and hash blobs.")


class CapabilitySettings(_Section):
    """Capability nodes and the worker processes in which foreign bytes are parsed."""

    slots: int = Field(
        0, ge=0, le=64, description="Tasks one node runs at a time; 0: one for each two cores, at least one."
    )
    remote_slots: int = Field(
        8, ge=0, le=256, description="Tasks at remote providers that one node waits for at a time."
    )
    threads_per_slot: int = Field(
        0, ge=0, description="Threads a task's libraries may use; 0: cores divided by slots."
    )
    kill_after_seconds: float = Field(
        10.0, ge=0, description="A cancelled task that does not stop by itself is killed after this."
    )
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="Longest silence of a running task towards the dispatcher."
    )
    announce_seconds: float = Field(1.0, gt=0, description="How often a node tells `jobs` its state.")
    max_run_seconds: float = Field(
        1800.0, gt=0, description="Longest run of a task that comes without a deadline."
    )
    recycle_after: int = Field(
        200, ge=0, description="Tasks after which a worker process is replaced by a fresh one; 0: never."
    )
    max_file_mib: int = Field(2048, gt=0, description="Longest file a worker process may write.")
    uid_base: int = Field(
        61200,
        gt=0,
        description="As root, worker processes run as numeric uids from this one on (4,000; none is added).",
    )
    require_confinement: bool = Field(
        True,
        description="Refuse tasks where the kernel takes neither system call filter nor change of uid.",
    )
    allow_programs: bool = Field(False, description="Worker processes may start other programs.")
    extra_engines: dict[str, list[str]] = Field(
        {},
        description="Further sources of engines, as `module:function`, by the capability that serves them.",
    )


class ProviderSettings(_Section):
    """What all remote providers have in common."""

    request_seconds: float = Field(60.0, gt=0, description="Longest wait for the answer to one request.")
    back_off_seconds: float = Field(
        1.0, gt=0, description="First pause after a request that failed for the moment; doubles up to 30 s."
    )
    patience_seconds: float = Field(
        300.0, ge=0, description="The task fails when requests have failed for the moment this long."
    )
    max_upload_mib: int = Field(64, ge=1, description="Largest file sent there, MiB.")
    max_download_mib: int = Field(256, ge=1, description="Largest file taken from there, MiB.")


class MeshySettings(ProviderSettings):
    """Meshy, a remote provider; nothing is sent to it unless a job names one of its engines."""

    api_key: SecretStr = Field(SecretStr(""), description="Key of the Meshy account; unset: not used.")
    base_url: str = Field("https://api.meshy.ai", description="Where its API is, or a proxy of it.")
    poll_seconds: float = Field(
        2.0, gt=0, description="How often a task is asked how it goes, unless Meshy asks for longer."
    )
    queue_seconds: float = Field(
        15.0, gt=0, description="Pause before a task is offered again while the account's queue is full."
    )
    wait_seconds: float = Field(
        3600.0, gt=0, description="Longest wait for room in the queue, and for one task to end."
    )
    ai_model: str = Field("latest", description="Model of image-to-3d and retexture, e.g. `meshy-6`.")
    pose_mode: Literal["", "a-pose", "t-pose"] = Field(
        "", description="Pose asked of meshes made of pictures; `t-pose` helps those that are rigged."
    )


class SegmindSettings(ProviderSettings):
    """Segmind, a remote provider; nothing is sent to it unless a job names its engine."""

    api_key: SecretStr = Field(SecretStr(""), description="Key of the Segmind account; unset: not used.")
    base_url: str = Field("https://api.segmind.com", description="Where its API is, or a proxy of it.")
    request_seconds: float = Field(600.0, gt=0, description="Longest wait for a mesh: it answers with it.")


class FbxSettings(_Section):
    """FBX in and out, by Blender as a program of its own."""

    folder: Path | None = Field(
        None, description="Folder of the Blender worker; unset: `workers/blender` beside the packages."
    )
    install: bool = Field(
        True, description="Install Blender (about 1 GB) when FBX is asked for first and it is not there."
    )
    install_seconds: float = Field(1500.0, gt=0, description="Longest time that the installation may take.")
    retry_seconds: float = Field(
        1800.0, gt=0, description="An installation that failed is not tried again by itself for this long."
    )


class PipelineSettings(_Section):
    """Which engine runs each step of a picture's way to a moving character, and how far it goes."""

    mesh_engine: str = Field(
        "", description="Makes the mesh, e.g. `meshy_image_to_3d`; unset: the best that is there."
    )
    retexture_engine: str = Field(
        "", description="Paints it anew, e.g. `meshy_retexture`; unset: the best local one that is there."
    )
    rig_engine: str = Field("", description="Rigs it, e.g. `meshy_rigging`; unset: the best that is there.")
    animation_engine: str = Field(
        "", description="Animates it, e.g. `meshy_animation`; unset: the best that is there."
    )
    max_animations: int = Field(30, ge=1, le=40, description="Animations that one job may ask for.")


class GatewaySettings(_Section):
    """The public face."""

    edge_address: str = Field(
        "", description="The edge app, as Envoy dials it (`host:port`); unset: a Unix socket."
    )
    header_seconds: float = Field(10.0, gt=0, description="Longest time for a request's headers to arrive.")
    body_seconds: float = Field(900.0, gt=0, description="Longest time for a whole request to arrive.")
    idle_seconds: float = Field(60.0, gt=0, description="A request or response that stands still ends.")
    slow_body_seconds: float = Field(
        30.0,
        ge=0,
        description="A file's request that brings less than `slow_body_kib` in this time is refused (408); "
        "0: none is.",
    )
    slow_body_kib: int = Field(64, ge=1, description="What a request brings at least in that time, KiB.")
    answer_seconds: float = Field(30.0, gt=0, description="Longest time for an answer that is not a stream.")
    max_connections: int = Field(10_000, ge=1, description="Connections open at the public listener.")
    max_sockets: int = Field(2_000, ge=1, description="WebSockets open at one gateway.")
    sockets_per_client: int = Field(
        10,
        ge=0,
        description="WebSockets open of one account at one gateway, of the public account for each client "
        "address; 0: no limit.",
    )
    max_body_kib: int = Field(1024, ge=1, description="Longest JSON body without the files in it, KiB.")
    requests_per_second: int = Field(
        50_000, ge=0, description="Requests let in per second at one Envoy; 0: no limit."
    )
    requests_per_second_per_client: int = Field(
        0,
        ge=0,
        description="Requests let in per second of one client address (IPv6: /64) at one Envoy; 0: any.",
    )
    proxy_hops: int = Field(
        0,
        ge=0,
        description="Reverse proxies in front of Envoy whose `X-Forwarded-For` tells the client's address.",
    )
    heap_mib: int = Field(1024, ge=128, description="Envoy's heap, MiB; it sheds load when near it.")
    access_log: Literal["off", "json"] = Field("off", description="Envoy's log of requests, to stdout.")
    max_image_mib: int = Field(50, ge=1, description="Largest picture taken, MiB.")
    max_image_side: int = Field(4096, ge=16, description="Widest and highest picture taken, pixels.")
    max_mesh_mib: int = Field(200, ge=1, description="Largest mesh taken, MiB.")
    inspect_processes: int = Field(2, ge=1, description="Sandboxed processes that look at pictures.")
    inspect_seconds: float = Field(20.0, gt=0, description="Longest look at one picture.")
    inspect_memory_mib: int = Field(512, ge=64, description="Memory of one look at a picture, MiB.")
    kept_jobs: int = Field(4096, ge=16, description="Ended jobs kept in memory to answer status polls.")
    kept_events: int = Field(64, ge=4, description="Last events kept in memory for each open job.")
    ping_seconds: float = Field(15.0, gt=0, description="Signs of life on idle event streams and sockets.")
    send_seconds: float = Field(10.0, gt=0, description="A socket that takes nothing this long is closed.")


class TelemetrySettings(_Section):
    """Logs, traces and metrics."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["json", "text"] = Field("json", description="Lines for machines or for people.")
    otlp_endpoint: str = Field(
        "", description="OTLP/gRPC collector for traces, e.g. `http://localhost:4317`; empty: no traces."
    )
    metrics_bind: str = Field("127.0.0.1", description="Address of the metrics ports; never a public one.")
    metrics_ports: dict[str, int] = Field(
        {}, description="Prometheus port by service name; 0 takes a free one; a service not named has none."
    )


class Settings(BaseSettings):
    """Settings of every service of the mesh."""

    model_config = SettingsConfigDict(
        env_prefix="MAQUETTE_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    data_dir: Path = Field(
        Path("data"), description="Everything that must survive: database, blobs, secrets."
    )
    bind: str = Field("127.0.0.1", description="Address of the public listener.")
    port: int = Field(7842, ge=1, le=65535, description="Port of the public listener.")
    more_ports: list[int] = Field(
        [], description="Further ports of the public listener, e.g. `[8000]`; the same routes on each."
    )
    public_base_url: str = Field("", description="Origin in URLs we issue; unset: http://localhost:<port>.")
    allowed_hosts: list[str] = Field(
        [], description="Host names served besides localhost and `public_base_url`."
    )
    allowed_origins: list[str] = Field(
        [], description="Origins that may call from a browser (CORS); none by default."
    )
    reflection: bool = Field(False, description="gRPC reflection on internal addresses.")
    drain_seconds: float = Field(20.0, ge=0, description="Longest time a service may take to end its calls.")
    addresses: AddressSettings = AddressSettings()
    tls: TlsSettings = TlsSettings()
    database: DatabaseSettings = DatabaseSettings()
    jobs: JobsSettings = JobsSettings()
    storage: StorageSettings = StorageSettings()
    capability: CapabilitySettings = CapabilitySettings()
    fbx: FbxSettings = FbxSettings()
    meshy: MeshySettings = MeshySettings()
    segmind: SegmindSettings = SegmindSettings()
    gateway: GatewaySettings = GatewaySettings()
    pipeline: PipelineSettings = PipelineSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the TOML file."""
        file = Path(os.environ.get("MAQUETTE_CONFIG", "maquette.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    @property
    def run_dir(self) -> Path:
        """Folder of the Unix sockets; short, whatever the length of ``data_dir``."""
        near = self.data_dir / "run"
        if len(os.fsencode(near)) <= _LONGEST_SOCKET:
            return near
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"maquette-{os.getuid()}-{digest}"

    @property
    def tmp_dir(self) -> Path:
        """Folder of files that live as long as one request."""
        return self.data_dir / "tmp"

    @property
    def secrets_dir(self) -> Path:
        """Folder of the secrets made at first start (0700)."""
        return self.data_dir / "secrets"

    @property
    def base_url(self) -> str:
        """Origin in the URLs we issue, without a slash at the end."""
        return (self.public_base_url or f"http://localhost:{self.port}").rstrip("/")

    def public_ports(self) -> list[int]:
        """Return every port of the public listener, the main one first."""
        return list(dict.fromkeys((self.port, *self.more_ports)))

    def socket(self, name: str) -> str:
        """Return the gRPC target of a Unix socket in the run folder."""
        return f"unix:{self.run_dir / f'{name}.sock'}"

    def address(self, service: str) -> str:
        """Return the gRPC target a service listens on (the first replica's, for `jobs`)."""
        configured: str | list[str] = getattr(self.addresses, service)
        if isinstance(configured, list):
            configured = configured[0] if configured else ""
        return configured or self.socket(service)

    def bytes_address(self) -> str:
        """Return where `storage` takes byte streams: ``unix:<path>`` or ``host:port``."""
        target = self.addresses.storage_bytes
        if target:
            return target
        target = self.address("storage")
        if target.startswith("unix:"):
            return self.socket("storage-bytes")
        host, _, port = target.rpartition(":")
        return f"{host}:{int(port) + 1}"

    def jobs_addresses(self) -> list[str]:
        """Return the gRPC targets of every replica of `jobs`."""
        return self.addresses.jobs or [self.socket("jobs")]

    def dsn(self, service: Literal["jobs", "storage"]) -> str:
        """Return the DSN of a service's role, at the local PostgreSQL unless another is set.

        The local server's folder of sockets and the role's password are told by files that the
        supervisor writes: `pg.host` in the run folder, `postgres-<role>` among the secrets.
        """
        configured = self.database.jobs_dsn if service == "jobs" else self.database.storage_dsn
        if configured:
            return configured
        role = {"jobs": "ledger", "storage": "assets"}[service]
        host = (self.run_dir / "pg.host").read_text().strip()
        password = (self.secrets_dir / f"postgres-{role}").read_text().strip()
        return f"postgresql://{role}:{quote(password)}@/maquette?host={quote(host, safe='')}"


def load_settings() -> Settings:
    """Read the settings. Raises pydantic.ValidationError naming each wrong value."""
    return Settings()
