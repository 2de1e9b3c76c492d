"""Who works on what, without Ray."""

from moothall_ray_executor.crew import Crew, Task
from moothall_ray_executor.wave import Call, Order


def task(agent: str, pool: str = "default", deliberation: str = "d") -> Task:
    order = Order(deliberation, Call(agent, "DEV", "m", b"", agent), "http://m", False, 1.0, 3)
    return Task(order, pool, 1.0)


def agents(given: dict[str, list[Task]]) -> dict[str, list[str]]:
    return {worker: [task.key[1] for task in tasks] for worker, tasks in given.items()}


def test_whoever_has_least_gets_the_next() -> None:
    crew = Crew()
    crew.join("default", "w1")
    crew.join("default", "w2")
    assert agents(crew.assign([task("a", deliberation="1"), task("a", deliberation="2")])) == {"w1": ["a"], "w2": ["a"]}
    assert crew.done(("2", "a"), "w2")
    assert agents(crew.assign([task("e")])) == {"w2": ["e"]}


def test_a_wave_stays_together_up_to_a_handful() -> None:
    crew = Crew()
    crew.join("default", "w1")
    crew.join("default", "w2")
    assert agents(crew.assign(map(task, "abcdef"))) == {"w1": ["a", "b", "c", "d"], "w2": ["e", "f"]}


def test_without_workers_orders_wait_for_their_pool() -> None:
    crew = Crew()
    assert crew.assign([task("a"), task("b", "QA")]) == {}
    assert crew.waiting("d") == {"a": 0, "b": 0}
    assert agents(crew.join("QA", "q")) == {"q": ["b"]}
    assert agents(crew.join("default", "w")) == {"w": ["a"]}


def test_what_a_lost_worker_had_is_given_back_once() -> None:
    crew = Crew()
    crew.join("default", "w1")
    crew.assign(map(task, "ab"))
    crew.done(("d", "a"), "w1")
    (lost,) = crew.leave("default", "w1")
    assert (lost.key, lost.losses) == (("d", "b"), 1)
    assert crew.leave("default", "w1") == []
    assert not crew.done(("d", "b"), "w1"), "its word comes too late"


def test_what_is_withdrawn_is_nobodys() -> None:
    crew = Crew()
    crew.assign([task("a", "QA")])
    crew.join("default", "w")
    crew.assign([task("b"), task("c"), task("b", deliberation="other")])
    assert crew.withdraw("d", ["a", "b"]) == {"w"}
    assert crew.waiting("d") == {}
    assert not crew.done(("d", "b"), "w")
    assert crew.done(("d", "c"), "w")
    assert crew.done(("other", "b"), "w")
