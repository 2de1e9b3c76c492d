"""A deliberation of three agents in one round, and three ways to hold it without the daemon.

    propose ─▶ critique ─▶ revise        three chat completions at once in each wave

As with the daemon, a reviewer sees the proposal of the next agent, and an author sees its own proposal and the review
of it. The task, the same for all, is the system message.

This module knows nothing of Ray but how its actors are called, so that the client without Ray does not load it.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import aiohttp

AGENTS = 3
TASK = "Write a function that merges overlapping spans of time, test it, and say what it costs. "

# What the agent in a seat answers to a prompt.
Ask = Callable[[int, str], Awaitable[str]]


class CallFailed(Exception):
    """The model server gave no answer that could be used."""


class Peer(Protocol):
    """A way to hold deliberations."""

    def council(self) -> contextlib.AbstractAsyncContextManager[Ask]:
        """The three agents of one deliberation, for as long as it lasts."""


def task(size: int) -> str:
    """A task of so many bytes."""
    return (TASK * (size // len(TASK) + 1))[:size]


def propose(seat: int) -> str:
    return f"You are agent {seat + 1} of {AGENTS}. Propose a complete solution to the task."


def critique(proposal: str) -> str:
    return f"Review this proposal against the task.\n\n{proposal}"


def revise(proposal: str, review: str) -> str:
    return f"Revise your proposal.\n\nThe proposal:\n\n{proposal}\n\nA review of it:\n\n{review}"


async def deliberate(ask: Ask) -> list[float]:
    """Milliseconds of each wave."""
    took = []

    async def wave(prompts: list[str]) -> list[str]:
        begun = time.perf_counter()
        answers = await asyncio.gather(*(ask(seat, prompt) for seat, prompt in enumerate(prompts)))
        took.append((time.perf_counter() - begun) * 1000)
        return answers

    seats = range(AGENTS)
    proposals = await wave([propose(seat) for seat in seats])
    reviews = await wave([critique(proposals[(seat + 1) % AGENTS]) for seat in seats])
    await wave([revise(proposals[seat], reviews[(seat - 1) % AGENTS]) for seat in seats])
    return took


async def complete(session: aiohttp.ClientSession, server: str, system: str, user: str) -> str:
    """The text of one chat completion. Raises CallFailed, aiohttp.ClientError."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    body = json.dumps({"model": "bench", "messages": messages}).encode()
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{server}/v1/chat/completions", data=body, headers=headers) as response:
        answer = await response.read()
        if response.status != 200:
            raise CallFailed(f"the model server answered status {response.status}")
    return content(answer)


def content(answer: bytes) -> str:
    """What a chat completion says. Raises CallFailed."""
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise CallFailed("the answer is no chat completion") from error
    if not isinstance(text, str) or not text:
        raise CallFailed("the answer has no text")
    return text


class Bare:
    """No Ray: all agents of all deliberations share one session."""

    def __init__(self, session: aiohttp.ClientSession, server: str, system: str) -> None:
        self._session = session
        self._server = server
        self._system = system

    @contextlib.asynccontextmanager
    async def council(self) -> AsyncIterator[Ask]:
        yield self._ask

    async def _ask(self, _: int, prompt: str) -> str:
        return await complete(self._session, self._server, self._system, prompt)


class Agent:
    """An agent as a Ray actor: a process with a session of its own."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, system: str, prompt: str) -> str:
        # Not before: a session belongs to a running event loop.
        self._session = self._session or aiohttp.ClientSession()
        return await complete(self._session, self._server, system, prompt)


class Fresh:
    """Three actors for each deliberation, which end with it."""

    def __init__(self, new_agent: Callable[[], Any], kill: Callable[[Any], None], system: str) -> None:
        self._new_agent = new_agent
        self._kill = kill
        self._system = system

    @contextlib.asynccontextmanager
    async def council(self) -> AsyncIterator[Ask]:
        agents = [self._new_agent() for _ in range(AGENTS)]
        try:
            yield asking(agents, self._system)
        finally:
            for agent in agents:
                self._kill(agent)


class Standing:
    """Three actors for each deliberation that may be under way; the next one takes them over."""

    def __init__(self, agents: list[Any], system: str) -> None:
        self._free = [agents[first : first + AGENTS] for first in range(0, len(agents), AGENTS)]
        self._system = system

    @contextlib.asynccontextmanager
    async def council(self) -> AsyncIterator[Ask]:
        agents = self._free.pop()
        try:
            yield asking(agents, self._system)
        finally:
            self._free.append(agents)


def asking(agents: list[Any], system: str) -> Ask:
    """What a remote call gives back can be awaited as it is."""

    def ask(seat: int, prompt: str) -> Awaitable[str]:
        answer: Awaitable[str] = agents[seat].ask.remote(system, prompt)
        return answer

    return ask
