"""The command line beside a running daemon, and what the daemon shows of itself."""

import time

import pytest

from office.daemon import Daemon
from office.office import password


def wait_register(office, number, secret, code):
    """A change made beside the daemon takes effect within seconds."""
    phone = office.fresh()
    phone.register(number, secret, office.daemon.sip_udp, wait=False)
    deadline = time.monotonic() + 5.0
    while phone.wait_registration() != code:
        assert time.monotonic() < deadline, f"{number} is not answered {code}"
        time.sleep(0.2)
        phone.ask("reregister")


def test_an_extension_added_on_the_command_line_registers_at_once(office):
    office.daemon.run("extensions", "add", "1150", "--name", "Ada", "--password", password("1150"))
    office.have.add("1150")
    office.api.wait(lambda: "1150" in office.api.extensions(), bool, "1150 in the API")
    assert office.api.extensions()["1150"]["name"] == "Ada"
    wait_register(office, "1150", password("1150"), 200)
    assert "1150" in office.daemon.run("extensions", "list").stdout
    assert "Ada" in office.daemon.run("extensions", "list").stdout


def test_a_password_changed_and_an_extension_removed_on_the_command_line_take_effect(office):
    office.phone("1101")
    office.daemon.run("extensions", "passwd", "1101", "--password", "quite-another-one")
    office.wait_registered("1101", False)
    wait_register(office, "1101", "quite-another-one", 200)
    office.daemon.run("extensions", "remove", "1101")
    office.api.wait(office.api.extensions, lambda e: "1101" not in e, "1101 gone")
    wait_register(office, "1101", "quite-another-one", 401)


def test_a_wrong_key_in_the_configuration_is_named_with_its_place(tmp_path):
    daemon = Daemon(tmp_path, config="calls:\n  ring_timeuot: 3\n")
    result = daemon.run("check", check=False)
    assert result.returncode != 0
    assert "config.yml:2:3" in result.stderr and "ring_timeuot" in result.stderr
    assert daemon.run("--version", check=False).stdout.startswith("strowger ")


def test_health_and_metrics(office):
    assert office.api.text("/healthz")
    samples = office.api.metrics()
    assert samples["strowger_calls_active"] == 0
    assert samples["strowger_registered_extensions"] == 0
    office.phone("1101")
    office.api.wait(office.api.metrics, lambda m: m["strowger_registered_extensions"] == 1, "1101 in the metrics", 2.0)


def test_a_call_has_a_trace_that_explains_it(office):
    caller = office.phone("1101")
    assert caller.call("1102").wait_end() in (404, 480)
    office.api.wait_idle()
    office.extension("1102")
    callee = office.phone("1102")
    out = caller.call("1102")
    call = callee.incoming()
    call.ring()
    (line,) = office.api.wait(office.api.calls, bool, "the call listed")
    call_id = line.removeprefix("Call ").split(":")[0]
    call.answer()
    out.wait_up()
    out.hangup()
    assert call.wait_end() == 200
    trace = str(office.api.ask("GET", f"/api/calls/{call_id}/trace"))
    for word in ("INVITE", "180", "200", "ACK", "BYE"):
        assert word in trace
    assert "response=" not in trace, "credentials are in the trace"


@pytest.mark.parametrize("path, status", [("/api/nothing", 404), ("/api/cdr?date=yesterday", 400), ("/api/cdr?limit=x", 400)])
def test_wrong_questions_get_json_errors(office, path, status):
    with pytest.raises(AssertionError, match=f"{status} ") as refusal:
        office.api.ask("GET", path)
    assert '"error"' in refusal.value.body
