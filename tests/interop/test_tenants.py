"""Two organisations on one exchange, with the same numbers."""

import pytest

from office import tone
from office.office import password

TENANTS = {"red": ("red.example", 440, 620), "blue": ("blue.example", 1040, 1480)}


@pytest.fixture
def office(make_office):
    commands = []
    for name, (domain, _, _) in TENANTS.items():
        commands.append(["tenants", "add", name, "--domain", domain])
        for number in ("1001", "1002"):
            secret = ["--password", f"{name}-{password(number)}"]
            commands.append(["extensions", "--tenant", name, "add", number, "--name", f"{name} {number}", *secret])
    return make_office(commands=commands)


def phone(office, tenant, number, hz=0):
    """A registered phone of a tenant: its domain in the URIs, the server as its proxy."""
    phone = office.fresh()
    phone.tone(hz)
    secret = f"{tenant}-{password(number)}"
    assert phone.register(number, secret, office.daemon.sip_udp, domain=TENANTS[tenant][0]) == 200
    return phone


def test_the_same_numbers_work_side_by_side_and_do_not_meet(office):
    ends = {}
    for tenant, (_, near, far) in TENANTS.items():
        caller, callee = phone(office, tenant, "1001", near), phone(office, tenant, "1002", far)
        out = caller.call("1002")
        call = callee.incoming()
        call.answer()
        out.wait_up()
        ends[tenant] = out, call
    hertz = [hz for _, near, far in TENANTS.values() for hz in (near, far)]
    for tenant, (_, near, far) in TENANTS.items():
        out, call = ends[tenant]
        tone.wait_heard(out, office.recording("near"), far, others=[hz for hz in hertz if hz != far])
        tone.wait_heard(call, office.recording("far"), near, others=[hz for hz in hertz if hz != near])
    for out, call in ends.values():
        out.hangup()
        assert call.wait_end() == 200


def test_a_tenant_cannot_reach_another(office):
    caller = phone(office, "red", "1001")
    other = phone(office, "blue", "1002")
    refused = caller.call(f"sip:1002@{TENANTS['blue'][0]}").wait_end()
    assert 400 <= refused < 700
    other.no_incoming(within=0.5)


def test_a_password_of_one_tenant_is_none_in_another(office):
    intruder = office.fresh()
    secret = f"red-{password('1001')}"
    assert intruder.register("1001", secret, office.daemon.sip_udp, domain=TENANTS["blue"][0]) in (401, 403)
