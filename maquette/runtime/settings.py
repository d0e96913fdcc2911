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

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SERVICES = ("storage", "jobs", "meshgen", "gateway")
# A Unix socket's path has at most 107 bytes; this is the longest name below the run folder.
_LONGEST_SOCKET = 107 - len("/gateway-edge.sock")


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
    gateway: str = Field("", description="`gateway`, as Envoy dials it; unset: a Unix socket.")
    meshgen: str = Field("", description="This `meshgen` node, as `jobs` dials it; unset: a Unix socket.")


class TlsSettings(_Section):
    """Mutual TLS between services on several machines (PEM files; all three or none)."""

    certificate: Path | None = Field(None, description="This service's certificate chain.")
    key: Path | None = Field(None, description="Its private key.")
    authority: Path | None = Field(None, description="The authority that signs every service's certificate.")


class JobsSettings(_Section):
    """The ledger."""

    lease_seconds: float = Field(
        15.0, gt=0, description="A task whose node is silent this long is given to another."
    )


class StorageSettings(_Section):
    """Blobs and uploads."""


class CapabilitySettings(_Section):
    """Capability nodes."""


class GatewaySettings(_Section):
    """The public face."""


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
    gateway: GatewaySettings = GatewaySettings()
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

    def socket(self, name: str) -> str:
        """Return the gRPC target of a Unix socket in the run folder."""
        return f"unix:{self.run_dir / f'{name}.sock'}"

    def address(self, service: str) -> str:
        """Return the gRPC target a service listens on (the first replica's, for `jobs`)."""
        configured: str | list[str] = getattr(self.addresses, service)
        if isinstance(configured, list):
            configured = configured[0] if configured else ""
        return configured or self.socket(service)

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
