"""Reads what a model server answered. Bytes in, an answer or a reason out."""

import json
from dataclasses import dataclass
from typing import Any

from .prompt import part
from .retry import Failure
from .wave import ErrorType

# Bytes of text, reasoning included.
MOST_TEXT = 1 << 20
# Characters of a server's own words that are passed on.
MOST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion."""

    content: str
    reasoning: str
    # Empty = the server did not say.
    model: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


def read(body: bytes) -> Answer | Failure:
    """The first choice of a chat completion."""
    try:
        document = json.loads(body)
        choice = document["choices"][0]
        message = choice["message"]
        content, inside = part(_text(message.get("content")))
        apart = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return Failure(ErrorType.INVALID_RESPONSE, f"the answer is no chat completion: {type(error).__name__}")
    reasoning = "\n\n".join(text for text in (apart, inside) if text)
    if len(content.encode()) + len(reasoning.encode()) > MOST_TEXT:
        return Failure(ErrorType.ANSWER_TOO_LARGE, f"the answer is longer than {MOST_TEXT} bytes")
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        content,
        reasoning,
        _word(document.get("model")),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _word(choice.get("finish_reason")),
    )


def words(body: bytes) -> str:
    """What a server says of an error, in short."""
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)
        error = error.get("error", error) if isinstance(error, dict) else error
        said = error.get("message") if isinstance(error, dict) else error
        text = said if isinstance(said, str) else text
    except (ValueError, RecursionError):
        pass
    return _sound(" ".join(text.split())[:MOST_WORDS])


def _text(value: Any) -> str:
    """A message's text: a string, nothing, or a list of parts."""
    if isinstance(value, list):
        value = "".join(piece["text"] for piece in value if piece.get("type", "text") == "text")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(value)
    return _sound(value)


def _word(value: Any) -> str:
    return _sound(value[:256]) if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return min(value, 1 << 62) if isinstance(value, int) and value > 0 else 0


def _sound(text: str) -> str:
    """Half of a surrogate pair is legal JSON and no legal text."""
    return text if text.isascii() else text.encode(errors="replace").decode()
