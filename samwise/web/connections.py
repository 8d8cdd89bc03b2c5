"""Connections: how many one address may have, and that each of them asks for something."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from samwise.web.uploads import visitor_of

_PATIENCE = 15.0  # seconds for a whole request's head


def limited_connections(most: int, patience: float = _PATIENCE) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which by itself lets anybody hold any number of connections and never ask anything.

    Args:
        most: Connections of one address. This machine's own aren't counted: a proxy's are everybody's.
        patience: Seconds that a connection may stay without a request.
    """
    held: Counter[str] = Counter()

    class Connection(AutoHTTPProtocol):
        loop: asyncio.AbstractEventLoop  # of uvicorn's protocol, as the next two
        cycle: Any
        transport: Any
        _visitor: str | None = None
        _idle = False
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            host = (transport.get_extra_info("peername") or ("",))[0]
            if not _is_own(host):
                self._visitor = visitor_of(host)
                held[self._visitor] += 1
                if held[self._visitor] > most:
                    transport.abort()
                    return
            self._timer = self.loop.call_later(patience, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if self._visitor is not None:
                held[self._visitor] -= 1
                if not held[self._visitor]:
                    del held[self._visitor]
            super().connection_lost(exc)

        def _look(self) -> None:
            """Closes a connection that had no request at the last look either, or none since it was made."""
            first = self.cycle is None
            idle = first or self.cycle.response_complete
            if idle and (first or self._idle):
                self.transport.abort()
                return
            self._idle = idle
            self._timer = self.loop.call_later(patience, self._look)

    return Connection


def _is_own(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket file
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
