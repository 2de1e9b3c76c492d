"""Asks model servers: one call with its tries, over one session with kept connections."""

import asyncio
import random
import time
from datetime import UTC, datetime

import aiohttp

from . import answer, retry
from .answer import Answer
from .retry import Failure
from .settings import ModelSettings
from .wave import ErrorType, Order, Result, Status

# Seconds; the wait for a connection that hangs is better spent on another try.
CONNECT_TIMEOUT = 10.0
# Seconds; servers close idle connections after 5 s (uvicorn, and so vLLM) to 75 s.
KEEP_ALIVE = 4.0
# Bytes of a response.
MOST_BODY = 8 << 20


class ModelClient:
    """One worker's way to all model servers. Made inside a running event loop."""

    def __init__(self, settings: ModelSettings) -> None:
        self._key = settings.key
        connector = aiohttp.TCPConnector(limit=settings.connections, keepalive_timeout=KEEP_ALIVE)
        # The deadline of a call covers all its tries: none of the session's own.
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, order: Order) -> Result:
        """What the call comes to, within its deadline. Cancelled, it closes its connection."""
        started = time.monotonic()
        tries = _Tries()
        try:
            async with asyncio.timeout(order.timeout):
                said = await self._with_retries(order, started + order.timeout, tries)
        except TimeoutError:
            last = f"; the try before: {tries.last.error}" if tries.last else ""
            said = Failure(ErrorType.TIMEOUT, f"no answer within {order.timeout:g} s{last}")
        took = round((time.monotonic() - started) * 1000)
        return _result(order, said, took, tries.count)

    async def _with_retries(self, order: Order, deadline: float, tries: "_Tries") -> Answer | Failure:
        while True:
            tries.count += 1
            said = await self._once(order)
            if isinstance(said, Answer):
                return said
            tries.last = said
            left = deadline - time.monotonic()
            chance = random.random()  # noqa: S311 - spreads retries, guards nothing
            wait = retry.next_try(said, tries.count, order.max_retries, left, chance)
            if wait is None:
                return said
            await asyncio.sleep(wait)

    async def _once(self, order: Order) -> Answer | Failure:
        headers = {"Content-Type": "application/json", "X-Moothall-Call": order.call.name}
        if order.keyed and self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            posted = self._session.post(order.url, data=order.call.body, headers=headers, allow_redirects=False)
            async with posted as response:
                body = await _body(response)
                if body is None:
                    return Failure(ErrorType.ANSWER_TOO_LARGE, f"the response is longer than {MOST_BODY} bytes")
                if response.status == 200:
                    return answer.read(body)
                return self._refusal(response, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, (aiohttp.InvalidURL, aiohttp.ClientResponseError)):
                return Failure(ErrorType.INVALID_RESPONSE, f"no HTTP: {type(error).__name__}")
            return Failure(ErrorType.CONNECTION, self._hidden(f"connection failed: {_cause(error)}"))

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> Failure:
        error = f"the model server answered status {response.status}"
        if said := self._hidden(answer.words(body)):
            error = f"{error}: {said}"
        return retry.failure_of(response.status, error, response.headers.get("Retry-After"), datetime.now(UTC))

    def _hidden(self, text: str) -> str:
        """A server may say our key back."""
        return text.replace(self._key, "***") if self._key else text


class _Tries:
    """What a deadline that strikes in the middle leaves behind."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Failure | None = None


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """None = too long."""
    if (response.content_length or MOST_BODY + 1) <= MOST_BODY:
        return await response.read()
    parts, length = [], 0
    async for piece in response.content.iter_any():
        length += len(piece)
        if length > MOST_BODY:
            response.close()
            return None
        parts.append(piece)
    return b"".join(parts)


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split())[: answer.MOST_WORDS] or type(error).__name__


def _result(order: Order, said: Answer | Failure, took: int, tries: int) -> Result:
    call = order.call
    if isinstance(said, Failure):
        return Result(
            call.agent_id,
            call.role,
            Status.FAILED,
            call.model,
            duration_ms=took,
            error=said.error,
            error_type=said.kind.value,
            attempts=tries,
        )
    empty = not said.content.strip()
    return Result(
        call.agent_id,
        call.role,
        Status.FAILED if empty else Status.COMPLETED,
        said.model or call.model,
        content="" if empty else said.content,
        reasoning=said.reasoning,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
        duration_ms=took,
        error=f"the answer is empty (finish_reason {said.finish_reason or 'unknown'})" if empty else "",
        error_type=ErrorType.INVALID_RESPONSE.value if empty else "",
        finish_reason=said.finish_reason,
        attempts=tries,
    )
