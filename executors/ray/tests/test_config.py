"""Configuration and targets: what is taken, and that all that is wrong is said at once."""

from importlib import resources
from pathlib import Path

import pytest

from moothall_ray_executor import config
from moothall_ray_executor.settings import PoolSettings, Strategy
from moothall_ray_executor.target import LONGEST_URL, Hosts, Url


def load(tmp_path: Path, text: str = "", **environment: str) -> config.Config:
    (tmp_path / "c.toml").write_text(text)
    return config.load(str(tmp_path / "c.toml"), environment)


def test_the_environment_beats_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    made = load(tmp_path, '[server]\nport = 1\nbind = "::1"\n', GRPC_PORT="2", RAY_ADDRESS="")
    assert (made.port, made.bind, made.metrics_port, made.cluster.address) == (2, "::1", None, "")
    assert load(tmp_path, METRICS_PORT="0").metrics_port == 0


def test_a_file_is_named_by_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[limits]\nrunning = 7\n")
    assert config.load(None, {"EXECUTOR_CONFIG": str(tmp_path / "c.toml")}).wanted.limits.running == 7


def test_pools_take_what_they_do_not_say_from_the_default(tmp_path: Path) -> None:
    text = '[pools.default]\nworkers = 3\n[pools.qa]\nnum_cpus = 1\nresources = { gpu = 0.5 }\nstrategy = "PACK"\n'
    assert load(tmp_path, text).wanted.pools == {
        "default": PoolSettings(3),
        "QA": PoolSettings(3, 1.0, {"gpu": 0.5}, Strategy.PACK),
    }


def test_all_problems_are_said_at_once_and_no_secret(tmp_path: Path) -> None:
    text = """
    [server]
    port = 70000
    colour = "red"
    [model]
    key = "sk secret"
    [limits]
    running = 0
    [pools.DEV]
    strategy = "ROUND"
    workers = "two"
    """
    with pytest.raises(config.Unusable) as refused:
        load(tmp_path, text, METRICS_PORT="many", VLLM_URL="http://user:hidden@gpu:1")
    said = str(refused.value)
    for problem in (
        "server.port = 70000: must be 0 to 65535",
        "server.colour: no such key",
        "model.key = ***: must be of visible ASCII",
        "limits.running = 0: must be more than 0",
        "pools.DEV.strategy = 'ROUND': must be one of SPREAD, PACK",
        "pools.DEV.workers = 'two': must be a whole number",
        "METRICS_PORT = 'many': must be a whole number",
        "model.url: must not hold a user or a password",
    ):
        assert problem in said
    assert "secret" not in said
    assert "hidden" not in said


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.Unusable, match=r"c\.toml"):
        load(tmp_path, "not toml")


def test_every_variable_is_in_the_reference() -> None:
    text = resources.files("moothall_ray_executor").joinpath("default.toml").read_text()
    assert all(f" {variable}\n" in text for variable in config.VARIABLES)


@pytest.mark.parametrize(
    ("url", "completions"),
    [
        ("http://gpu:8000", "http://gpu:8000/v1/chat/completions"),
        ("http://gpu:8000/v1", "http://gpu:8000/v1/chat/completions"),
        ("http://gpu:8000/v1/", "http://gpu:8000/v1/chat/completions"),
        ("https://gpu/models/a", "https://gpu/models/a/v1/chat/completions"),
        ("http://[::1]:8000/", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_base_urls(url: str, completions: str) -> None:
    assert Url.parse(url).completions == completions


def test_the_longest_url() -> None:
    url = "http://gpu/" + "a" * (LONGEST_URL - len("http://gpu/"))
    assert not Url.parse(url).problems
    assert Url.parse(url + "a").problems == ("is longer than 2048 characters",)


@pytest.mark.parametrize(
    "url",
    ["", "gpu:8000", "ftp://gpu", "http://", "http://user:hidden@gpu", "http://gpu?a=1", "http://gpu#a", "http://g:x"],
)
def test_what_is_no_base_url_is_refused_without_its_password(url: str) -> None:
    problems = Url.parse(url).problems
    assert problems
    assert "hidden" not in str(problems)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.9:1", True),
        ("http://[::1]:1", True),
        ("http://127.evil.example", False),
        ("http://gpu.inner:9", True),
        ("http://GPU.inner:9", True),
        ("http://inner:9", False),
        ("http://one:8000", True),
        ("http://one:8001", False),
        ("http://elsewhere", False),
    ],
)
def test_only_hosts_that_are_named_are_asked(url: str, allowed: bool) -> None:
    assert Hosts(("loopback", "*.inner", "one:8000")).allows(Url.parse(url)) is allowed


def test_the_key_goes_to_the_configured_servers_only(tmp_path: Path) -> None:
    hosts = load(tmp_path, VLLM_URL="http://gpu:8000, https://cloud", VLLM_API_KEY="sk").hosts
    assert hosts.may_have_key(Url.parse("http://gpu:8000/v1"))
    assert hosts.may_have_key(Url.parse("https://cloud"))
    assert hosts.allows(Url.parse("http://localhost:1"))
    assert not hosts.may_have_key(Url.parse("http://localhost:1"))
    assert load(tmp_path, VLLM_API_KEY="sk").hosts.may_have_key(Url.parse("http://localhost:1"))
