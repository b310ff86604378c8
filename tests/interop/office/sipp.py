"""SIPp runs: a scenario, a user file, a bounded time; figures read back from its statistics."""

import csv
import pathlib
import re
import shutil
import subprocess
import time

SCENARIOS = pathlib.Path(__file__).resolve().parents[1] / "sipp"


class SippError(AssertionError):
    pass


def users(path, rows):
    """Writes SIPp's injection file: one line a call, used in turn."""
    path.write_text("SEQUENTIAL\n" + "".join(";".join(map(str, row)) + ";\n" for row in rows))
    return path


def credentials(user, password):
    return f"[authentication username={user} password={password}]"


class Sipp:
    """One SIPp process. `wait` gives its result; leaving the context ends it."""

    def __init__(self, directory, scenario, local_port, remote=None, inject=None, calls=None, rate=None, limit=None,
                 hold_ms=0, transport="u1", rtp_port=None, files=(), timeout=120, extra=()):
        """`files` are copied beside the run: a scenario names them without a path."""
        self.name = pathlib.Path(scenario).stem
        self.directory = pathlib.Path(directory) / f"sipp-{self.name}-{local_port}-{time.monotonic_ns()}"
        self.directory.mkdir(parents=True)
        for file in files:
            shutil.copy(file, self.directory)
        self.timeout = timeout
        command = ["sipp"] + ([remote] if remote else [])
        command += ["-sf", str(scenario), "-i", "127.0.0.1", "-p", str(local_port), "-t", transport, "-nostdin"]
        command += ["-mi", "127.0.0.1", "-trace_err", "-trace_stat", "-stf", str(self.directory / "stat.csv"), "-fd", "1"]
        command += ["-error_file", str(self.directory / "errors.log"), "-timeout", f"{timeout}s", "-d", str(hold_ms)]
        for option, value in (("-inf", inject), ("-m", calls), ("-r", rate), ("-l", limit), ("-mp", rtp_port)):
            if value is not None:
                command += [option, str(value)]
        self.output = open(self.directory / "output.txt", "wb")
        command += map(str, extra)
        self.process = subprocess.Popen(
            command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )

    def wait(self):
        """(successful, failed, seconds) of a run that made all its calls; a hung one is ended and fails."""
        try:
            self.process.wait(self.timeout + 15)
        except subprocess.TimeoutExpired:
            self.close()
            raise SippError(f"SIPp {self.name} hangs; see {self.directory}") from None
        # 0: all calls succeeded, 1: some failed, 97 and 99: the time ran out; everything else is SIPp's own failure.
        if self.process.returncode not in (0, 1, 97, 99) or not (self.directory / "stat.csv").exists():
            tail = (self.directory / "output.txt").read_text(errors="replace")[-2000:]
            raise SippError(f"SIPp {self.name} ended with {self.process.returncode}: {tail}")
        return self.figures()

    def figures(self):
        with open(self.directory / "stat.csv", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        last = rows[-1]
        hours, minutes, seconds = last["ElapsedTime(C)"].split(":")[:3]
        elapsed = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), elapsed

    def errors(self, limit=2000):
        path = self.directory / "errors.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return re.sub(r"\r", "", text)[:limit]

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if not self.output.closed:
            self.output.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
