"""Asks the agents of a council on a Ray cluster, a wave at a time.

The way of a wave, and the processes that it passes:

    client ──gRPC──▶ service ──socket──▶ bridge ──Ray──▶ supervisor ──Ray──▶ workers ──HTTP──▶ model servers
                        │                   │                │                  │
                 parses, mirrors,     holds Ray, so    the registry: one   long-lived, each
                 tells watchers,      that a dead      detached actor      with many calls
                 publishes            cluster kills    that outlives       at once over one
                                      only it          the service         session

Decisions are in `registry` (what became of which wave) and `crew` (who works on what): no clock, no await, no Ray.
"""

__version__ = "0.1.0"
