"""Ports of the loopback."""

import itertools
import os
import socket

# Below the ephemeral ports of a usual Linux and above the daemons' RTP ranges, so that nobody gets one by chance.
_quiet = itertools.cycle(range(24000 + os.getpid() % 500 * 10, 32000, 4))


def free_port(kind=socket.SOCK_DGRAM):
    """A port nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quiet_ports():
    """The first of four ports in a row, for UDP and TCP, that nobody has and nobody gets by chance."""
    for first in itertools.islice(_quiet, 4000):
        if all(_free(port, kind) for port in range(first, first + 4) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
            return first
    raise OSError("no four ports in a row are free between 24000 and 32000")


def rtp_range(size=2000):
    """LOW-HIGH for a daemon's RTP: the first stretch that nobody else uses, save for a port here and there."""
    for low in range(10000, 24000, size):
        sample = range(low, low + size, 10)
        if sum(_free(port, socket.SOCK_DGRAM) for port in sample) > 0.95 * len(sample):
            return f"{low}-{low + size - 1}"
    raise OSError(f"no stretch of {size} UDP ports is free between 10000 and 24000")


def _free(port, kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
