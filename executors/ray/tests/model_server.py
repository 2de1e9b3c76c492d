"""A model server whose answers a test decides, call by call, and which remembers what it saw."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web


def completion(content: str | None = "an answer", **message: Any) -> dict[str, Any]:
    return {
        "model": "served",
        "choices": [
            {"message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 11},
    }


def status(code: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.json_response({"error": {"message": f"this is a {code}"}}, status=code, headers=headers)


def answer(document: Any) -> Callable[[], web.Response]:
    return lambda: web.json_response(document)


class ModelServer:
    """Calls are named by their X-Moothall-Call. Those in `held` are answered when they are released."""

    def __init__(self) -> None:
        # What is answered to the next calls of a name, before the usual answer.
        self.script: dict[str, list[Callable[[], web.Response]]] = defaultdict(list)
        self.calls: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.disconnected: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.holding = False
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/elsewhere", self._complete)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def count(self, name: str) -> int:
        return self.calls.count(name)

    async def release(self) -> None:
        await self._note(lambda: setattr(self, "holding", False))

    async def until(self, claim: Callable[[], bool], limit: float = 20.0) -> None:
        """Until a claim about this server is true."""
        async with asyncio.timeout(limit), self._changed:
            await self._changed.wait_for(claim)

    async def _note(self, change: Callable[[], Any]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        name = unquote(request.headers.get("X-Moothall-Call", ""))
        self.bodies[name] = await request.json()
        self.headers[name] = dict(request.headers)
        await self._note(lambda: self._begin(name))
        try:
            if self.script[name]:
                return self.script[name].pop(0)()
            async with self._changed:
                await self._changed.wait_for(lambda: not self.holding)
            return web.json_response(completion(f"answer of {name}"))
        except asyncio.CancelledError:
            self.disconnected.append(name)
            raise
        finally:
            self.in_flight -= 1
            # Not under the condition's lock: a handler that is cancelled may not wait.
            self._tell = asyncio.get_running_loop().create_task(self._note(lambda: None))

    def _begin(self, name: str) -> None:
        self.calls.append(name)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
