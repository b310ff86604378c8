"""Attackers' own tools (SIPVicious) behind the very address a good phone has: they learn nothing, guess in vain, and the
phone goes on."""

import pathlib
import re
import subprocess
import sys

from office.config import settings
from office.office import password

TOOLS = pathlib.Path(sys.executable).parent


def attack(office, tool, *arguments, within=60):
    """What the tool says."""
    server, port = office.daemon.sip_udp.split(":")
    command = [TOOLS / f"sipvicious_{tool}", "-p", port, *arguments, server]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=within, cwd=office.directory, check=False)
    return ended.stdout + ended.stderr


def test_a_scanner_that_says_so_finds_no_server(make_office):
    office = make_office(settings(trusted=[]))
    assert "found nothing" in attack(office, "svmap")
    assert office.api.metrics()["strowger_sip_scanners_total"] > 0


def test_an_unnamed_scanner_does_not_learn_which_extensions_there_are(make_office):
    office = make_office(settings(trusted=[], scanners=[]))
    office.extension("1101")
    assert "127.0.0.1" in attack(office, "svmap")
    for method in ("REGISTER", "INVITE", "OPTIONS"):
        said = attack(office, "svwar", "-m", method, "--force", "-e", "1095-1105", "--maximumtime", "3")
        told = re.findall(r"^\| *(\d+) *\| *(\w+)", said, re.MULTILINE)
        assert len({answer for _, answer in told}) <= 1 and len(told) in (0, 11), f"{method}: {said}"


def test_a_guesser_is_banned_before_the_right_password_and_a_phone_beside_it_goes_on(make_office):
    office = make_office(settings(trusted=[], scanners=[]))
    phone = office.phone("1101")
    office.extension("1102")
    early, late = office.directory / "early.txt", office.directory / "late.txt"
    early.write_text(f"guess\n{password('1102')}\n")
    late.write_text("\n".join([f"guess-{n}" for n in range(30)] + [password("1102")]) + "\n")

    def crack(words):
        return attack(office, "svcrack", "-u", "1102", "-d", words, "--maximumtime", "5")

    # The tool does find what it tries early enough.
    assert password("1102") in crack(early)
    assert password("1102") not in crack(late)
    office.api.wait(office.api.metrics, lambda samples: samples["strowger_bans"] == 1, "a ban")
    assert 'banned "1102" at 127.0.0.1 for 300s' in office.daemon.text()
    assert phone.register("1101", password("1101"), office.daemon.sip_udp) == 200
