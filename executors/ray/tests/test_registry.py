"""What became of which deliberation, without clocks or Ray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moothall_ray_executor.feed import Log, page
from moothall_ray_executor.registry import Answered, Ended, Event, Full, Limits, Registry
from moothall_ray_executor.wave import Kind, Outline, Result, Seat, Status


def outline(name: str, agents: int = 2, attempt: str = "1") -> Outline:
    seats = tuple(Seat(f"a{index}", "DEV", "m") for index in range(agents))
    return Outline(f"d-{name}-{attempt}", name, attempt, Kind.DELIBERATION, "DEV", "", "", {}, seats)


def result(agent: str, status: Status = Status.COMPLETED, content: str = "c") -> Result:
    return Result(agent, "DEV", status, "m", content=content, error="" if status is Status.COMPLETED else "why")


def ended(registry: Registry, name: str, now: float = 1.0, content: str = "c") -> None:
    registry.submit(outline(name), now)
    for agent in ("a0", "a1"):
        registry.answer(f"d-{name}-1", result(agent, content=content), now)


def test_it_is_completed_when_all_ended_and_one_answered() -> None:
    registry = Registry(Limits())
    registry.submit(outline("t"), 1.0)
    registry.answer("d-t-1", result("a0", Status.FAILED), 2.0)
    assert len(registry.running) == 1
    events = registry.answer("d-t-1", result("a1"), 3.0)
    assert events[-1] == Ended("d-t-1", Status.COMPLETED, "", 3.0)
    assert (registry.totals.completed, registry.totals.seconds) == (1, 2.0)


def test_it_has_failed_when_none_answered() -> None:
    registry = Registry(Limits())
    registry.submit(outline("t"), 1.0)
    for agent in ("a0", "a1"):
        events = registry.answer("d-t-1", result(agent, Status.FAILED), 3.0)
    assert events[-1] == Ended("d-t-1", Status.FAILED, "a0: why; a1: why", 3.0)


def test_what_comes_late_or_twice_changes_nothing() -> None:
    registry = Registry(Limits())
    ended(registry, "t")
    assert registry.answer("d-t-1", result("a0"), 2.0) == []
    assert registry.cancel("d-t-1", "wish", 2.0) == registry.lose("d-t-1", "gone", 2.0) == []
    assert registry.answer("d-unknown", result("a0"), 2.0) == []
    registry.submit(outline("u"), 1.0)
    registry.answer("d-u-1", result("a0"), 1.0)
    assert registry.answer("d-u-1", result("a0"), 1.0) == registry.answer("d-u-1", result("stranger"), 1.0) == []


def test_cancelled_agents_have_results_too() -> None:
    registry = Registry(Limits())
    registry.submit(outline("t", agents=3), 1.0)
    registry.answer("d-t-1", result("a1"), 2.0)
    events = registry.cancel("d-t-1", "wish", 3.0)
    said = [(event.result.agent_id, event.result.status) for event in events if isinstance(event, Answered)]
    assert said == [("a0", Status.CANCELLED), ("a2", Status.CANCELLED)]
    assert events[-1] == Ended("d-t-1", Status.CANCELLED, "wish", 3.0)


def test_the_same_key_attaches_until_it_is_forgotten() -> None:
    registry = Registry(Limits(retention=10.0))
    ended(registry, "t", now=1.0)
    assert registry.submit(outline("t"), 5.0) == []
    assert registry.existing(("t", "1")) == "d-t-1"
    assert registry.submit(outline("t", attempt="2"), 5.0) != []
    assert registry.submit(outline("t"), 11.0) != []


def test_no_more_than_so_many_run() -> None:
    registry = Registry(Limits(running=2))
    for name in ("a", "b"):
        registry.submit(outline(name), 1.0)
    with pytest.raises(Full):
        registry.submit(outline("c"), 1.0)
    assert registry.submit(outline("a"), 1.0) == [], "a known one attaches all the same"
    registry.cancel("d-a-1", "wish", 1.0)
    assert registry.submit(outline("c"), 1.0) != []


def test_the_oldest_ended_are_forgotten_when_there_are_too_many_or_too_big() -> None:
    registry = Registry(Limits(known=3, running=3))
    for name in "abcd":
        ended(registry, name)
    assert [one.outline.task_id for one in registry] == ["b", "c", "d"]
    registry = Registry(Limits(characters=10_000))
    for name in "abcd":
        ended(registry, name, content="x" * 2_000)
    registry.forget(1.0)
    assert [one.outline.task_id for one in registry] == ["c", "d"]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("abc"), st.sampled_from("12")),
        st.tuples(st.just("answer"), st.sampled_from("abc"), st.sampled_from(["a0", "a1"])),
        st.tuples(st.just("cancel"), st.sampled_from("abc"), st.just("")),
        st.tuples(st.just("told"), st.sampled_from("abc"), st.sampled_from(["a0", "a1"])),
    ),
    max_size=40,
)


def act(registry: Registry, action: tuple[str, str, str]) -> list[Event]:
    what, name, more = action
    match what:
        case "submit":
            return registry.submit(outline(name, attempt=more), 1.0)
        case "answer":
            return registry.answer(f"d-{name}-1", result(more), 2.0)
        case "told":
            return registry.told([(f"d-{name}-1", more)])
        case _:
            return registry.cancel(f"d-{name}-1", "wish", 3.0)


@given(ACTIONS, st.integers(0, 3))
def test_whoever_applies_the_events_knows_the_same(actions: list[tuple[str, str, str]], repeats: int) -> None:
    origin, mirror, log = Registry(Limits()), Registry(Limits()), Log()
    for action in actions:
        log.append(act(origin, action))
    read = log.after(0)
    assert read is not None
    for _ in range(repeats + 1):
        for event in read[1]:
            mirror.apply(event)
    assert list(mirror) == list(origin)
    assert mirror.totals == origin.totals
    for one in origin:
        assert (one.status is Status.RUNNING) == (one.outline.deliberation_id in origin.running)
        assert (one.status is Status.RUNNING) == any(one.open_seats)


def test_a_log_is_read_in_batches_and_says_when_something_is_gone() -> None:
    log = Log()
    log.append([Answered("d", result("a0", content="x" * (1 << 20))) for _ in range(10)])
    seq, read = 0, 0
    while (batch := log.after(seq)) and batch[1]:
        assert len(batch[1]) < 6
        seq, read = batch[0], read + len(batch[1])
    assert (seq, read) == (10, 10)
    log.append([Answered("d", result("a0", content="x" * (1 << 20))) for _ in range(70)])
    assert log.after(0) is None
    assert log.after(81) is None, "of another supervisor's count"
    assert log.after(80) == (80, [])


def test_a_snapshot_is_read_in_pages() -> None:
    registry = Registry(Limits())
    for index in range(10):
        ended(registry, f"t{index}", content="x" * (1 << 19))
    seen: list[str] = []
    after, more = 0, True
    while more:
        part = page(registry, after, 1, registry.totals)
        seen += [one.outline.task_id for one in part.deliberations]
        after, more = part.last, part.more
    assert seen == [f"t{index}" for index in range(10)]
