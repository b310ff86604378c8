"""Fixtures: an office for each test, with a real daemon."""

import pytest

from office.office import Office


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


@pytest.fixture
def make_office(tmp_path, request):
    """Starts an office with settings of its own; ends it with the test."""
    offices = []

    def make(config="", **more):
        office = Office(tmp_path / f"office-{len(offices)}", config=config, **more)
        office.start()
        offices.append(office)
        return office

    yield make
    # A test that failed left its calls as they were: only of one that passed are they due to be gone.
    failed = getattr(request.node, "failed", True)
    for office in offices:
        office.close(check=not failed)


@pytest.fixture
def office(make_office):
    """An office with the settings a first start has."""
    return make_office()
