"""How many bytes of request bodies may be held at one time, over all clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class BodyBudget:
    """A pool of bytes with a fair queue: who waits longest is served first, however large.

    Nobody overtakes a large body with small ones, or it would wait for ever.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._waiting: OrderedDict[object, tuple[int, Callable[[], None]]] = OrderedDict()

    @property
    def free(self) -> int:
        return self._free

    def take(self, owner: object, size: int, granted: Callable[[], None]) -> bool:
        """Takes `size` bytes now, or queues `owner`; `granted` is called when its turn comes."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return True
        self._waiting[owner] = (size, granted)
        return False

    def forget(self, owner: object) -> None:
        """Takes `owner` out of the queue; what it holds must be given back apart."""
        if self._waiting.pop(owner, None) is not None:
            self._serve()

    def give(self, size: int) -> None:
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            owner, (size, granted) = next(iter(self._waiting.items()))
            if size > self._free:
                return
            del self._waiting[owner]
            self._free -= size
            granted()
