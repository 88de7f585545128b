"""nginx as a peer: another proxy before the same NanoGPT, which knows HTTP and nothing else."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from standin.process import StandIn
from tests.functional.running import TOKEN, User
from tests.functional.wire import Answer, Wire

_ENDING = 10.0  # seconds on a machine that is busy with other things

# What the proxy promises of a relay, in nginx's words: bytes pass when they come, nothing is
# repeated, the path is not rewritten, the headers are the user's key and few others, and an
# answer orders nothing.
_CONFIG = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/unused;
    uwsgi_temp_path {directory}/unused;
    scgi_temp_path {directory}/unused;
    client_max_body_size 512m;
    map_hash_bucket_size 256;
    map $http_authorization $trusted {{ default 0; "Bearer {token}" 1; }}
    map $http_x_openwebui_user_email $key {{ default ""; {keys} }}
    upstream nanogpt {{ server {upstream}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location = /health/live {{ return 200; }}
        location /v1/ {{
            if ($trusted = 0) {{ return 401; }}
            if ($key = "") {{ return 401; }}
            proxy_pass http://nanogpt/api$request_uri;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout 900s;
            proxy_ignore_headers X-Accel-Redirect X-Accel-Buffering X-Accel-Charset;
            proxy_pass_request_headers off;
            proxy_set_header Host {upstream};
            proxy_set_header Connection "";
            proxy_set_header Accept $http_accept;
            proxy_set_header Accept-Encoding identity;
            proxy_set_header Content-Type $content_type;
            proxy_set_header Authorization "Bearer $key";
        }}
    }}
}}
"""


class PeerWire(Wire):
    """A connection to a server that spells the names of headers as it likes."""

    def head(self) -> Answer:
        text = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = text.split("\r\n")[:-2]
        _, status, reason = first.split(" ", 2)
        split = (line.partition(":") for line in lines)
        pairs = [(name.lower(), value.strip()) for name, _, value in split]
        return Answer(int(status), reason, pairs)


class Peer:
    """An nginx with a folder and a port of its own; a context manager."""

    def __init__(self, nano: StandIn, users: Iterable[User]) -> None:
        self.host, self.port = "127.0.0.1", 0
        self._upstream = f"{nano.host}:{nano.port}"
        self._users = list(users)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # Not below pytest's own folder, which is closed to the user that nginx runs as.
        self._directory = Path(tempfile.mkdtemp(prefix="nginx-peer-"))
        try:
            self._start()
            self._check()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def connect(self) -> Wire:
        return PeerWire(self.host, self.port)

    @property
    def said(self) -> str:
        """What it has complained of."""
        return (self._directory / "stderr").read_text(errors="replace")

    def _start(self) -> None:
        # It takes over a socket that listens already, as when it is replaced by a newer nginx:
        # the port is ours from the beginning, and nobody has to wait until it listens.
        listener = socket.create_server((self.host, 0))
        with listener, (self._directory / "stderr").open("wb") as complaints:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            config = self._directory / "nginx.conf"
            config.write_text(self._config())
            rights = self._lesser_rights()
            self._process = subprocess.Popen(
                [_command(), "-c", config, "-p", self._directory, "-e", "stderr"],
                env={"NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
                **rights,
            )

    def _config(self) -> str:
        return _CONFIG.format(
            directory=self._directory,
            token=TOKEN,
            keys=" ".join(f'"{user.email}" "{user.key}";' for user in self._users if user.key),
            upstream=self._upstream,
            port=self.port,
        )

    def _lesser_rights(self) -> dict[str, Any]:
        """Root starts it as nobody, who then owns the folder."""
        if os.getuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        group = grp.getgrgid(nobody.pw_gid)
        for path in (self._directory, *self._directory.iterdir()):
            os.chown(path, nobody.pw_uid, group.gr_gid)
        return {"user": nobody.pw_uid, "group": group.gr_gid, "extra_groups": ()}

    def _check(self) -> None:
        """It answers; an nginx that did not start says why."""
        try:
            with self.connect() as line:
                assert line.ask("GET", "/health/live").status == 200
        except (OSError, AssertionError) as error:
            raise RuntimeError(f"nginx does not answer: {self.said}") from error

    def _stop(self) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._directory)


def _command() -> str:
    """Debian keeps it out of sight of ordinary users."""
    return shutil.which("nginx") or "/usr/sbin/nginx"
