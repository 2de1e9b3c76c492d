"""Logs: one JSON document a line on stderr. Prompts, answers and secrets are never in them."""

import json
import logging
import sys
from datetime import UTC, datetime

# What every record has; the rest is what the caller said beside the message.
_COMMON = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Lines(logging.Formatter):
    """A record as a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _COMMON}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start(level: str) -> None:
    """Takes over the process's logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Libraries speak of their own inner life below this, urls and subjects included.
    for library in ("asyncio", "grpc", "nats", "ray", "aiohttp"):
        logging.getLogger(library).setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))
