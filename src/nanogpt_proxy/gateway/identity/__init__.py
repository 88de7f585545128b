"""Hop 3: the connection token, then who is asking. Headers, rules and the time in, identity or
refusal out; nothing here waits or remembers a person.

The token proves that the caller is our Open WebUI; only then is its word about the user believed,
and with a shared secret only its signature.
"""

from nanogpt_proxy.gateway.identity.asker import Asker
from nanogpt_proxy.gateway.identity.connection import ConnectionTokens
from nanogpt_proxy.gateway.identity.plain import missing
from nanogpt_proxy.gateway.identity.who import Identities

__all__ = ["Asker", "ConnectionTokens", "Identities", "missing"]
