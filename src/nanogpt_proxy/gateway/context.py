"""What all exchanges share, put together once in `app`."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field

from nanogpt_proxy.directory import Directory
from nanogpt_proxy.gateway.admission import Admission
from nanogpt_proxy.gateway.budget import BodyBudget
from nanogpt_proxy.gateway.catalogue import Catalogue
from nanogpt_proxy.gateway.identity import ConnectionTokens
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.rejection import Rejections
from nanogpt_proxy.gateway.upstream import Pool
from nanogpt_proxy.health import Health
from nanogpt_proxy.limits import Limits
from nanogpt_proxy.logs import AccessLog
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.pseudonyms import Pseudonyms
from nanogpt_proxy.settings import Settings


@dataclass(slots=True)
class Context:
    """The parts that one request needs. `access_log` is `None` when requests are not logged."""

    loop: asyncio.AbstractEventLoop
    settings: Settings
    tokens: ConnectionTokens
    admission: Admission
    rejections: Rejections
    directory: Directory
    limits: Limits
    pool: Pool
    catalogue: Catalogue
    health: Health
    budget: BodyBudget
    judge: Judge
    counters: Counters
    pseudonyms: Pseudonyms
    access_log: AccessLog | None
    _prefix: str = field(default_factory=lambda: "npx-" + secrets.token_hex(6))
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def next_id(self) -> str:
        """A request id of ours, for answers that do not carry one of NanoGPT's."""
        return f"{self._prefix}-{next(self._numbers):x}"
