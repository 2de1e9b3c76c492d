"""Publishes results on NATS JetStream, each once, and never holds up a wave: what NATS does not take waits here."""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable

import nats
from nats.aio.client import Client

from .event import Message
from .retry import pause

# Messages on their way at once: NATS answers each, and a wave's come together.
WINDOW = 64
# Seconds; the server says of itself that it has stored a message.
ACK_TIMEOUT, CONNECT_TIMEOUT = 5.0, 5

log = logging.getLogger(__name__)

Told = Callable[[list[tuple[str, str]]], Awaitable[None]]


class Publisher:
    """At most `room` messages wait; when there are more, the oldest is dropped and counted."""

    def __init__(self, url: str, room: int, told: Told) -> None:
        self._url = url
        self._room = room
        self._told = told
        self._waiting: deque[Message] = deque()
        self._some = asyncio.Event()
        self._connected = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.published = 0
        self.dropped = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def offer(self, message: Message) -> None:
        """Takes a message, whatever NATS does."""
        self._waiting.append(message)
        while len(self._waiting) > self._room:
            self._waiting.popleft()
            self.dropped += 1
        self._idle.clear()
        self._some.set()

    async def flushed(self) -> None:
        """Until nothing waits."""
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled."""
        client = await self._connect()
        log.info("publishing on NATS")
        try:
            await self._publish(client)
        finally:
            with contextlib.suppress(Exception):
                await client.close()

    async def _connect(self) -> Client:
        async def reconnected() -> None:
            self._connected.set()

        async def disconnected() -> None:
            self._connected.clear()
            log.warning("NATS is out of reach", extra={"waiting": self.waiting})

        async def failed(_: Exception) -> None:
            self.failures += 1

        failures = 0
        while True:
            try:
                client = await nats.connect(
                    self._url,
                    name="moothall-ray-executor",
                    connect_timeout=CONNECT_TIMEOUT,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    reconnected_cb=reconnected,
                    disconnected_cb=disconnected,
                    error_cb=failed,
                )
            except Exception as error:  # noqa: BLE001 - of whatever kind: it is tried again for ever
                failures += 1
                log.warning("NATS is out of reach", extra={"error": type(error).__name__})
                await asyncio.sleep(pause(failures, random.random()))  # noqa: S311 - spreads, guards nothing
                continue
            self._connected.set()
            return client

    async def _publish(self, client: Client) -> None:
        stream = client.jetstream(timeout=ACK_TIMEOUT)
        failures = 0
        while True:
            await self._some.wait()
            await self._connected.wait()
            batch = [self._waiting.popleft() for _ in range(min(WINDOW, len(self._waiting)))]
            sent = await asyncio.gather(*(self._one(stream, message, client.max_payload) for message in batch))
            # What failed goes back to the front, in its order.
            failed = [message for message, done in zip(batch, sent, strict=True) if not done]
            self._waiting.extendleft(reversed(failed))
            await self._tell([message.key for message, done in zip(batch, sent, strict=True) if done])
            if not self._waiting:
                self._some.clear()
                self._idle.set()
            failures = failures + 1 if failed else 0
            if failed:
                await asyncio.sleep(pause(failures, random.random()))  # noqa: S311 - spreads, guards nothing

    async def _one(self, stream: nats.js.JetStreamContext, message: Message, most: int) -> bool:
        """Whether it need not be tried again."""
        if len(message.payload) > most:
            self.dropped += 1
            log.error("a result is too long for NATS", extra={"bytes": len(message.payload), "most": most})
            return True
        try:
            await stream.publish(message.subject, message.payload, headers=dict(message.headers))
        except Exception as error:  # noqa: BLE001 - of whatever kind: it is tried again for ever
            self.failures += 1
            log.warning("a result was not published", extra={"error": type(error).__name__, "subject": message.subject})
            return False
        self.published += 1
        return True

    async def _tell(self, keys: list[tuple[str, str]]) -> None:
        if keys:
            # Untold, it is published again after a restart, and recognised by its id.
            with contextlib.suppress(Exception):
                await self._told(keys)
