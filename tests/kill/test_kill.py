"""A short campaign of SIGKILLs; `scripts/kill-test` runs a hundred."""

import asyncio
import random

import pytest

from campaign import campaign

KILLS = 10


@pytest.mark.timeout(300)
def test_a_killed_daemon_knows_what_it_confirmed(tmp_path):
    seed = random.SystemRandom().randrange(10**9)
    figures = asyncio.run(campaign(tmp_path, KILLS, seed))
    load = figures["load"]
    # The load was real: most of it was answered, and kills hit calls and registrations under way.
    assert load.statuses["REGISTER"][200] > KILLS * 10, load.statuses
    assert sum(load.calls.answered.values()) > KILLS * 2, load.statuses
    assert figures["causes"]["restart"] > 0, figures["causes"]
