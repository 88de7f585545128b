"""The table of settings. Its order is the order of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import parse

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    attribute: str
    parse: Callable[[str], Any]
    default: Any
    default_text: str
    """The default as one would write it; empty if there is none."""
    help: str
    secret: bool
    other_spelling: str | None
    """A second name, used when the first is unset."""
    check: Callable[[Any], None] | None
    """Called with the value once it is complete, paths absolute; raises `parse.Unusable`."""

    @property
    def name(self) -> str:
        return self.attribute.upper()


def _setting(
    parser: Callable[[str], T],
    default: str,
    help: str,
    *,
    secret: bool = False,
    other_spelling: str | None = None,
    check: Callable[[T], None] | None = None,
) -> T:
    row = (parser, parser(default), default, help, secret, other_spelling, check)
    return field(default=row[1], metadata={"row": row})


def _optional(
    parser: Callable[[str], T],
    help: str,
    *,
    secret: bool = False,
    other_spelling: str | None = None,
    check: Callable[[T], None] | None = None,
) -> T | None:
    row = (parser, None, "", help, secret, other_spelling, check)
    return field(default=None, metadata={"row": row})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process, checked. Attributes are the names in lower case.

    Times are seconds, sizes are bytes. Paths from `load` are absolute.
    """

    proxy_host: str = _setting(
        parse.host, "127.0.0.1", "Address to listen on. The container image sets `0.0.0.0`."
    )
    proxy_port: int = _setting(
        parse.whole(0, 65535), "3000", "Port to listen on; `0` lets the system choose one."
    )
    data_dir: Path = _setting(
        parse.path,
        "./data",
        "Folder of the database and of the secrets that are made at the first start.",
        check=parse.folder,
    )
    database_url: str | None = _optional(
        parse.database_url,
        "Another place for the database: `sqlite:////absolute/path.db`. "
        "Unset: `nanogpt-proxy.db` in `DATA_DIR`.",
    )
    db_encryption_key: Secret | None = _optional(
        parse.master_key,
        "Master key that seals the users' API keys: 64 hex digits. "
        "Unset: made at the first start, in `DATA_DIR/encryption.key`. Without it all keys are "
        "lost: back it up.",
        secret=True,
    )
    db_encryption_key_previous: Secret | None = _optional(
        parse.master_key,
        "The master key before `DB_ENCRYPTION_KEY`, which then only opens: for a change of keys "
        "with `nanogpt-proxy rotate-key`.",
        secret=True,
    )
    old_db_encryption_key: Secret | None = _optional(
        parse.old_secret,
        "For `nanogpt-proxy import` alone: the secret of the earlier nanogpt-proxy, whose "
        "`keys.db` is imported. Unset: `import` asks for it.",
        secret=True,
    )
    proxy_token: tuple[Secret, ...] = _setting(
        parse.tokens,
        "",
        "Connection token that Open WebUI sends as its API key, at least 16 characters; several "
        "are separated by commas, for a change without a break. "
        "Unset: made at the first start, in `DATA_DIR/proxy.token`.",
        secret=True,
    )
    openwebui_jwt_secret: Secret | None = _optional(
        parse.jwt_secret,
        "What Open WebUI signs the user with: its `FORWARD_USER_INFO_HEADER_JWT_SECRET`, at least "
        "32 bytes. Once it is set, only the signed header counts.",
        secret=True,
    )
    openwebui_jwt_secret_previous: Secret | None = _optional(
        parse.jwt_secret,
        "An earlier `OPENWEBUI_JWT_SECRET` that is valid too, for a change without a break.",
        secret=True,
    )
    forward_user_info_header_jwt: str = _setting(
        parse.header_name,
        "X-OpenWebUI-User-Jwt",
        "Name of the signed header. This and the next three have the names that they have in "
        "Open WebUI, and must be the same there.",
    )
    forward_user_info_header_user_email: str = _setting(
        parse.header_name, "X-OpenWebUI-User-Email", "Name of the header with the e-mail."
    )
    forward_user_info_header_user_id: str = _setting(
        parse.header_name, "X-OpenWebUI-User-Id", "Name of the header with the user's id."
    )
    forward_user_info_header_user_role: str = _setting(
        parse.header_name, "X-OpenWebUI-User-Role", "Name of the header with the user's role."
    )
    allowed_roles: tuple[str, ...] = _setting(
        parse.roles,
        "admin,user",
        "Roles of Open WebUI that may make calls, where a role is sent; never `pending`.",
    )
    bind_identity: bool = _setting(
        parse.yes_no,
        "true",
        "Whether an account belongs to the Open WebUI user (id) who used it first, until "
        "`nanogpt-proxy unbind`.",
    )
    anonymous_calls: str = _setting(
        parse.choice("deny", "service"),
        "deny",
        "Calls without any user: `deny`, or `service`, which pays for them with `SERVICE_API_KEY`.",
    )
    service_api_key: Secret | None = _optional(
        parse.service_key, "NanoGPT API key for calls without a user.", secret=True
    )
    service_routes: tuple[str, ...] = _setting(
        parse.routes,
        "embeddings",
        "What calls without a user may reach, separated by commas; `chat/completions` and the "
        "like.",
    )
    upstream_url: str = _setting(
        parse.upstream_url,
        "https://api.nano-gpt.com/api/v1",
        "NanoGPT's API; `/v1/…` maps onto it.",
    )
    upstream_allow_http: bool = _setting(
        parse.yes_no,
        "false",
        "Whether `UPSTREAM_URL` may be `http://` to another machine: keys then go in the clear.",
    )
    upstream_ca_file: Path | None = _optional(
        parse.path,
        "Certificates (PEM) to trust for `UPSTREAM_URL` instead of the system's.",
        check=parse.certificates,
    )
    upstream_connections: int = _setting(
        parse.whole(1, 1_000_000), "4000", "Most connections to NanoGPT at one time; more wait."
    )
    upstream_idle_seconds: float = _setting(
        parse.seconds, "30", "How long an unused connection to NanoGPT is kept."
    )
    https_proxy: Secret | None = _optional(
        parse.proxy_url,
        "HTTP proxy to reach NanoGPT through: `http://host:port`, also with `user:password@`.",
        secret=True,
        other_spelling="https_proxy",
    )
    no_proxy: str = _setting(
        parse.text,
        "",
        "Hosts that are reached without `HTTPS_PROXY`, separated by commas.",
        other_spelling="no_proxy",
    )
    max_json_bytes: int = _setting(
        parse.size, "32MiB", "Largest JSON body. Sizes are bytes, or end in `KiB`, `MiB`, `GiB`."
    )
    max_upload_bytes: int = _setting(
        parse.size, "512MiB", "Largest multipart body, which is passed on as it comes."
    )
    max_buffered_bytes: int = _setting(
        parse.size,
        "256MiB",
        "Most body bytes held in memory over all clients; beyond it they wait.",
    )
    max_connections: int = _setting(
        parse.whole(1, 1_000_000), "10000", "Most client connections at one time."
    )
    head_timeout: float = _setting(parse.seconds, "10", "A request's head must be complete within.")
    body_timeout: float = _setting(parse.seconds, "60", "Longest silence inside a request's body.")
    keepalive_timeout: float = _setting(
        parse.seconds,
        "75",
        "How long an idle client connection is kept. Longer than Open WebUI keeps its own (15), "
        "or it meets closed ones.",
    )
    connect_timeout: float = _setting(
        parse.seconds, "10", "A connection to NanoGPT, TLS included, must stand within."
    )
    first_byte_timeout: float = _setting(
        parse.seconds, "900", "How long a model may think before its answer begins."
    )
    stream_idle_timeout: float = _setting(
        parse.seconds, "900", "Longest silence inside an answer. There is no limit on its length."
    )
    drain_delay: float = _setting(
        parse.seconds_or_none,
        "0",
        "After SIGTERM, how long new requests are still taken while `/health/ready` says 503.",
    )
    drain_seconds: float = _setting(
        parse.seconds_or_none, "30", "After that, how long running answers may go on."
    )
    models_ttl: float = _setting(parse.seconds, "300", "How long the lists of models are kept.")
    user_tag: str = _setting(
        parse.choice("off", "hmac"),
        "off",
        "`hmac` sends NanoGPT a stable pseudonym as `user`, for those who want its abuse checks "
        "to tell users apart. Clients' own `user` never goes up.",
    )
    log_level: str = _setting(
        parse.choice("debug", "info", "warning", "error"),
        "info",
        "`debug`, `info`, `warning` or `error`.",
    )
    log_format: str = _setting(
        parse.choice("text", "json"), "text", "`text`, or `json` with one object per line."
    )
    log_requests: bool = _setting(
        parse.yes_no, "true", "Whether each request is logged: never its content or key."
    )
    log_users: str = _setting(
        parse.choice("pseudonym", "email"),
        "pseudonym",
        "What stands for the user in a request's line: a stable `pseudonym`, or the `email`.",
    )


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(item.name, *item.metadata["row"]) for item in fields(Settings)
)
