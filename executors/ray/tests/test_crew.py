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
    assert agents(crew.assign(map(task, "abc"))) == {"w1": ["a", "c"], "w2": ["b"]}
    assert crew.done(("d", "a"), "w1")
    assert crew.done(("d", "c"), "w1")
    assert agents(crew.assign([task("e")])) == {"w1": ["e"]}


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
