"""SIPp loads that several measurements share."""

import pathlib
import time

from office import sipp
from servers import USERS, password

HERE = pathlib.Path(__file__).resolve().parent
REGISTER, UAC, UAS = (HERE / "sipp" / f"{name}.xml" for name in ("register", "uac", "uas"))
# Dialled numbers are the upper half of the users, callers the lower; the last of each belong to the probe.
CALLERS = [user for user in USERS if user < 1490]
# Two workers of a proxy may reorder a 180 and its 200: what comes late is no failure.
TOLERANT = ["-default_behaviors", "all,-abortunexp"]


def user_file(directory, port, suffix=""):
    """A line for each user; `suffix` makes the contact another one of the same user."""
    rows = [(user, sipp.credentials(user, password(user)), f"127.0.0.1:{port}", suffix) for user in USERS]
    return sipp.users(directory / f"users-{time.monotonic_ns()}.csv", rows)


def register_all(server, directory, port, suffix=""):
    """Every user is at home at the UAS's port. Registered from that very port: contacts are bound to flows."""
    inject = user_file(directory, port, suffix)
    with sipp.Sipp(directory, REGISTER, port, server.address, inject, calls=len(USERS), rate=500, timeout=60) as load:
        done, failed, _ = load.wait()
        if failed or done != len(USERS):
            raise SystemExit(f"{server.name}: {done} of {len(USERS)} users registered\n{load.errors()}")


def call_file(directory):
    rows = [(user, sipp.credentials(user, password(user)), user + 500) for user in CALLERS]
    return sipp.users(directory / f"call-{time.monotonic_ns()}.csv", rows)
