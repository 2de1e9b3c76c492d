"""Where the workers of a pool run: each pool has so many workers, each of which needs so much of a node."""

from typing import Any

from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from .settings import PoolSettings, Strategy


def options(pool: PoolSettings, connections: int) -> list[dict[str, Any]]:
    """Ray's options for each worker of a pool.

    Workers that need something of a node share a placement group, which holds their places for them when they are
    replaced. Those that need nothing cannot have one: Ray's own policies, which are the same in words, place them.
    """
    base: dict[str, Any] = {
        "num_cpus": pool.num_cpus,
        "resources": pool.resources,
        "max_restarts": 0,
        # Orders are started, not awaited: this bounds the supervisor's messages alone.
        "max_concurrency": max(16, connections // 16),
    }
    needs = {name: amount for name, amount in {"CPU": pool.num_cpus, **pool.resources}.items() if amount}
    if not needs:
        policy = "SPREAD" if pool.strategy is Strategy.SPREAD else "DEFAULT"
        return [{**base, "scheduling_strategy": policy} for _ in range(pool.workers)]
    group = placement_group([needs] * pool.workers, strategy=pool.strategy.value)
    return [
        {**base, "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)}
        for index in range(pool.workers)
    ]


def release(made: list[dict[str, Any]]) -> None:
    """Gives the places of a pool back, whose workers are not wanted any more."""
    strategy = made[0]["scheduling_strategy"]
    if isinstance(strategy, PlacementGroupSchedulingStrategy):
        remove_placement_group(strategy.placement_group)
