"""SIGKILL at random instants under load; after each restart the daemon is compared with what it had said.

    campaign.py --kills 100 [--seed N] [--directory DIR]

Fails with the first disagreement and says which; ends with the figures of the campaign.
"""

import argparse
import asyncio
import collections
import datetime
import pathlib
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))

from load import CALLEES, CALLERS, PASSWORD, REGISTRANTS, Load  # noqa: E402

from office.daemon import Daemon  # noqa: E402


class Disagreement(AssertionError):
    """The restarted daemon does not know what it had confirmed."""


def records(api, days):
    """All CDRs of the days, by call id."""
    found = {}
    for day in days:
        after = ""
        while True:
            page = api.ask("GET", f"/api/cdr?date={day}&limit=1000" + (f"&after={after}" if after else ""))
            fresh = [record for record in page if record["call_id"] not in found]
            found.update((record["call_id"], record) for record in page)
            if not fresh or len(page) < 1000:
                break
            after = page[-1]["call_id"]
    return found


def check_calls(calls, found):
    """Every call a phone was rung for has an ended record, and no record is there without a call."""
    wrong = []
    have = collections.Counter((r["from_extension"], r["to_extension"]) for r in found.values())
    for pair, count in calls.rang.items():
        if have[pair] < count:
            wrong.append(f"{pair[0]} -> {pair[1]}: {count} calls, {have[pair]} records")
    for pair, count in have.items():
        if count > calls.tried[pair]:
            wrong.append(f"{pair[0]} -> {pair[1]}: {count} records, only {calls.tried[pair]} calls were tried")
    wrong += [f"{r['call_id']} has no end" for r in found.values() if not r["end_time"]]
    return wrong


async def campaign(directory, kills, seed, longest=1.5, say=print):
    """Figures of a campaign that found nothing wrong."""
    chance = random.Random(seed)
    days = {datetime.date.today().isoformat()}
    daemon = Daemon(directory)
    daemon.start()
    restarts = []
    try:
        for number in (*REGISTRANTS, *CALLERS, *CALLEES):
            daemon.api.add_extension(number, PASSWORD.format(number))
        load = Load(daemon.sip_udp, chance.randrange(2**32))
        await load.open()
        for kill in range(1, kills + 1):
            await load.run(chance.uniform(0.1, longest))
            uncertain = len(load.tasks)
            daemon.kill()
            settle = asyncio.create_task(load.settle())
            began = time.monotonic()
            await asyncio.to_thread(daemon.start)
            restarts.append(time.monotonic() - began)
            await settle
            days.add(datetime.date.today().isoformat())
            wrong = await load.compare_bindings()
            found = records(daemon.api, sorted(days))
            # Calls of this run have ended when the load settled; their records follow at once.
            deadline = time.monotonic() + 10.0
            while (failures := check_calls(load.calls, found)) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
                found = records(daemon.api, sorted(days))
            wrong += failures
            if wrong:
                raise Disagreement(f"kill {kill} of seed {seed}:\n  " + "\n  ".join(wrong[:20]))
            say(f"kill {kill:3}: {uncertain} operations under way, {sum(load.calls.rang.values())} calls and "
                f"{load.statuses['REGISTER'][200]} registrations so far, restart {restarts[-1]:.2f} s")
        if complaints := daemon.complaints():
            raise Disagreement(f"the daemon complained: {complaints[:5]}")
        causes = collections.Counter(r.get("hangup_cause") for r in found.values())
        return {"load": load, "records": found, "causes": causes, "restarts": sorted(restarts)}
    finally:
        if daemon.process.poll() is None:
            daemon.kill()


def report(figures, kills, seed):
    load = figures["load"]
    statuses = load.statuses
    print(f"\n{kills} kills, seed {seed}")
    print(f"registrations: {statuses['REGISTER'][200]} answered 200, {statuses['REGISTER'][None]} unanswered, "
          f"{ {s: n for s, n in statuses['REGISTER'].items() if s not in (200, None)} or 'no'} other answers")
    print(f"calls: {sum(load.calls.rang.values())} rang, {sum(load.calls.answered.values())} answered, "
          f"{len(figures['records'])} records: {dict(figures['causes'])}")
    middle, longest = figures["restarts"][kills // 2], figures["restarts"][-1]
    print(f"restart until the API answers: median {middle:.2f} s, longest {longest:.2f} s")
    print("nothing that was confirmed was lost")


def main():
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--directory", help="keep data and log here (default: a temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-") as temporary:
        directory = pathlib.Path(options.directory or temporary)
        figures = asyncio.run(campaign(directory, options.kills, options.seed))
    report(figures, options.kills, options.seed)


if __name__ == "__main__":
    main()
