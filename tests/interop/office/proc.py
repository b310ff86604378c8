"""What a process and its children cost, from /proc."""

import os
import pathlib

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(name)):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def cpu_seconds(pid):
    """User and system time of all threads of the process and of its living descendants."""
    return sum(sum(map(int, fields[11:13])) / TICKS for one in tree(pid) if (fields := _stat(one)))


def rss_bytes(pid):
    """Resident memory, shared pages counted once: the proportional set size summed over the tree."""
    total = 0
    for one in tree(pid):
        try:
            for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
