"""Which model servers may be asked, and who of them gets the key."""

import fnmatch
import functools
import ipaddress
from dataclasses import dataclass

from yarl import URL

# Stands for localhost, 127.0.0.0/8 and ::1 in a list of hosts.
LOOPBACK = "loopback"
# Characters of a URL.
LONGEST_URL = 2_048
# Waves name few servers, again and again.
REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Url:
    """A model server's base URL, or what is wrong with it."""

    host: str = ""
    port: int = 0
    # Of chat completions.
    completions: str = ""
    problems: tuple[str, ...] = ()

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Url":
        """With or without a trailing /v1. Never says back what may be a password."""
        if len(text) > LONGEST_URL:
            return cls(problems=(f"is longer than {LONGEST_URL} characters",))
        return _parse(text)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Patterns: `host`, `host:port`, `*.domain`, or `loopback`."""

    allowed: tuple[str, ...] = (LOOPBACK,)
    keyed: tuple[str, ...] = ()

    def allows(self, url: Url) -> bool:
        return _matches(url, self.allowed)

    def may_have_key(self, url: Url) -> bool:
        return _matches(url, self.keyed)


def hosts_of(urls: str) -> list[str]:
    """A list parted by commas."""
    return [url.strip() for url in urls.split(",") if url.strip()]


@functools.lru_cache(maxsize=REMEMBERED)
def _parse(text: str) -> Url:
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        return Url(problems=("is no URL",))
    problems = []
    if url.scheme not in ("http", "https") or not host or not port:
        problems.append("must be http://host:port or https://host:port")
    if url.user is not None or url.password is not None:
        problems.append("must not hold a user or a password")
    if url.query_string or url.fragment:
        problems.append("must not have a query or a fragment")
    if problems or host is None or port is None:
        return Url(problems=tuple(problems))
    path = url.raw_path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Url(host, port, f"{url.origin()}{path}/v1/chat/completions")


@functools.lru_cache(maxsize=REMEMBERED)
def _matches(url: Url, patterns: tuple[str, ...]) -> bool:
    return any(
        _is_loopback(url.host)
        if pattern == LOOPBACK
        else fnmatch.fnmatchcase(url.host, pattern.lower()) or url.authority == pattern.lower()
        for pattern in patterns
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
