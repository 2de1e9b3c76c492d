"""Python's collector of garbage, told what to expect here: ten thousand deliberations are kept for an hour, and hardly
anything that is dropped refers to itself. Left as it is, it looks through all of them again and again: a tenth of the
CPU, and pauses of a tenth of a second."""

import gc

# New objects until the youngest are looked at, and rounds of that until the older ones are.
YOUNGEST, MIDDLE, OLDEST = 20_000, 20, 20


def expect_little() -> None:
    """Called once by each process, when all that it imports is there: none of that is ever looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST, MIDDLE, OLDEST)
