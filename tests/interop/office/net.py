"""Ports of the loopback."""

import socket


def free_port(kind=socket.SOCK_DGRAM):
    """A port nobody has at this moment, above the daemon's RTP range and below the ephemeral one of a usual Linux."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
