"""nginx twice: as the fast upstream, and as the peer proxy with a static map of keys."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.callers import Caller
from bench.processes import BenchmarkFailed, Running, free_port, start, wait_until_listening

_FRAME = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/{name}.pid;
error_log {directory}/{name}.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/{name}-body;
    proxy_temp_path {directory}/{name}-proxy;
    fastcgi_temp_path {directory}/{name}-unused;
    uwsgi_temp_path {directory}/{name}-unused;
    scgi_temp_path {directory}/{name}-unused;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    map_hash_bucket_size 256;
    client_max_body_size 32m;
{body}
}}
"""

# It answers only those who bring a right key: a proxy that sends none or another fails the run.
_UPSTREAM = """\
    access_log off;
    map $http_authorization $known {{ default 0; {keys} }}
    server {{
        listen 127.0.0.1:{port}{tls} backlog=4096;
        {certificate}
        location = /api/v1/chat/completions {{
            if ($known = 0) {{ return 401 '{{}}'; }}
            return 200 '{answer}';
        }}
    }}
"""

# What a careful operator would write by hand for this job, request log included.
_PEER = """\
    log_format line '$time_iso8601 $request_id $request_method $status $request_time $bytes_sent';
    access_log {directory}/{name}-access.log line buffer=64k flush=1s;
    map $http_authorization $trusted {{ default 0; "Bearer {token}" 1; }}
    map $http_x_openwebui_user_email $key {{ default ""; {keys} }}
    upstream nanogpt {{
        server 127.0.0.1:{upstream_port};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /v1/chat/completions {{
            if ($trusted = 0) {{ return 401; }}
            if ($key = "") {{ return 401; }}
            proxy_pass {scheme}://nanogpt/api/v1/chat/completions;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_read_timeout 900s;
            proxy_pass_request_headers off;
            proxy_set_header Host 127.0.0.1:{upstream_port};
            proxy_set_header Connection "";
            proxy_set_header Accept $http_accept;
            proxy_set_header Accept-Encoding identity;
            proxy_set_header Content-Type $content_type;
            proxy_set_header Authorization "Bearer $key";
            {tls}
        }}
    }}
"""

_ANSWER_BYTES = 300


@dataclass(frozen=True)
class Certificate:
    """A private authority and the certificate of the upstream that it signed."""

    authority: Path
    chain: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    made = Certificate(directory / "ca.pem", directory / "up.pem", directory / "up.key")
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    request += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    authority_key = str(directory / "ca.key")
    _run(
        *request,
        *("-subj", "/CN=bench authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", authority_key, "-out", str(made.authority)),
    )
    _run(
        *request,
        *("-CA", str(made.authority), "-CAkey", authority_key, "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", str(made.key), "-out", str(made.chain)),
    )
    return made


def start_upstream(
    directory: Path, callers: list[Caller], *, core: int, certificate: Certificate | None = None
) -> tuple[Running, int]:
    port = free_port()
    secured = ""
    if certificate:
        secured = f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
    body = _UPSTREAM.format(
        port=port,
        tls=" ssl" if certificate else "",
        certificate=secured,
        keys=" ".join(f'"Bearer {caller.key}" 1;' for caller in callers),
        answer=_answer(),
    )
    running = _start("upstream", directory, body, core)
    wait_until_listening(running, port)
    return running, port


def start_peer(
    directory: Path,
    callers: list[Caller],
    token: str,
    upstream_port: int,
    *,
    core: int,
    certificate: Certificate | None = None,
) -> tuple[Running, int]:
    port = free_port()
    tls = ""
    if certificate:
        # nginx compares names, never addresses, with the certificate.
        tls = (
            f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {certificate.authority};"
            " proxy_ssl_name localhost; proxy_ssl_server_name on;"
        )
    body = _PEER.format(
        directory=directory,
        name="nginx",
        token=token,
        keys=" ".join(f'"{caller.email}" "{caller.key}";' for caller in callers),
        port=port,
        upstream_port=upstream_port,
        scheme="https" if certificate else "http",
        tls=tls,
    )
    running = _start("nginx", directory, body, core)
    wait_until_listening(running, port)
    return running, port


def _start(name: str, directory: Path, body: str, core: int) -> Running:
    path = directory / f"{name}.conf"
    path.write_text(_FRAME.format(name=name, directory=directory, body=body, user=_user()))
    command = ["nginx", "-c", str(path), "-p", str(directory), "-e", str(directory / "early.log")]
    return start(name, command, core=core, directory=directory)


def _user() -> str:
    """Workers do not stay root; the name of the group differs between distributions."""
    if os.getuid() != 0:
        return ""
    nobody = pwd.getpwnam("nobody")
    return f"user nobody {grp.getgrgid(nobody.pw_gid).gr_name};"


def _answer() -> str:
    frame = (
        '{"id":"chatcmpl-bench","object":"chat.completion","created":1778155200,'
        '"model":"bench/fast","choices":[{"index":0,"message":{"role":"assistant",'
        '"content":"%s"},"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":20,"completion_tokens":12,"total_tokens":32}}'
    )
    return frame % ("b" * (_ANSWER_BYTES - len(frame) + 2))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"{command[0]} failed: {done.stderr.strip()}")
