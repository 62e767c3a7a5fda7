"""Many containers, many lines, many bytes: what engines do under load."""

import subprocess
import time

TOGETHER = 50
LISTED = 200
LINES = 1_000_000
GIBIBYTE = 1 << 30


def measure(present, args):
    # podman has no daemon to be measured beside, and takes minutes for this.
    engines = [tool for tool in present if tool.name in ("coracle", "docker")]
    results = []
    for act in [together, listed, lines, attached]:
        for key, title, unit in act.rows:
            results.append((key, title, unit, []))
        rows = results[-len(act.rows):]
        for tool in engines:
            try:
                found = act(tool, 1 if args.quick else 3)
            except (RuntimeError, subprocess.SubprocessError) as error:
                found = [([], "failed: " + " ".join(str(error).split())[:200])] * len(rows)
            for row, (times, note) in zip(rows, found):
                row[3].append((tool.name, times, note))
    return results


def together(tool, rounds):
    """`run -d` of 50 containers at once, and `rm -f` of them all."""
    starts, removals = [], []
    names = [f"bench-{n}" for n in range(TOGETHER)]
    flags = ["run", "-d", *tool.run_flags, "--network", "none", "--name"]
    for _ in range(rounds):
        begin = time.perf_counter()
        running = [quiet(tool.line(*flags, name, tool.here.small, "sleep", "1000000")) for name in names]
        failed = sum(1 for process in running if process.wait())
        starts.append((time.perf_counter() - begin) * 1000)
        removals.append(timed(tool.line("rm", "-f", *names)))
        if failed:
            raise RuntimeError(f"{failed} of {TOGETHER} did not start")
    return [(starts, ""), (removals, "")]


together.rows = [("starts", f"{TOGETHER} containers started together", "ms"),
                 ("removal", f"{TOGETHER} running containers removed", "ms")]


def listed(tool, rounds):
    """`ps -a` where there are 200 containers."""
    names = [f"bench-{n}" for n in range(LISTED)]
    for name in names:
        done(tool.line("create", *tool.run_flags, "--network", "none", "--name", name, tool.here.small, "true"))
    times = [timed(tool.line("ps", "-a")) for _ in range(rounds * 5)]
    done(tool.line("rm", "-f", *names))
    return [(times, "")]


listed.rows = [("ps", f"`ps -a` with {LISTED} containers", "ms")]


def lines(tool, rounds):
    """`logs` of a million lines, and of the last ten."""
    done(tool.line("run", "-d", *tool.run_flags, "--network", "none", "--name", "bench-lines",
                   tool.here.small, "seq", str(LINES)))
    done(tool.line("wait", "bench-lines"))
    everything = [timed(tool.line("logs", "bench-lines")) for _ in range(rounds)]
    last = [timed(tool.line("logs", "-n", "10", "bench-lines")) for _ in range(rounds * 5)]
    done(tool.line("rm", "-f", "bench-lines"))
    return [(everything, ""), (last, "")]


lines.rows = [("logs", "a million log lines read back", "ms"), ("tail", "the last 10 of them", "ms")]


def attached(tool, rounds):
    """A foreground `run` that writes 1 GiB, in lines of a kilobyte."""
    script = f"yes $(printf %01023d 0) | head -c {GIBIBYTE}"
    line = tool.line("run", "--rm", *tool.run_flags, "--network", "none", tool.here.small, "sh", "-c", script)
    return [([timed(line) for _ in range(rounds)], "")]


attached.rows = [("attach", "1 GiB through attach, and into the log", "ms")]


def quiet(line):
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def done(line):
    if quiet(line).wait():
        raise RuntimeError(" ".join(line))


def timed(line):
    begin = time.perf_counter()
    done(line)
    return (time.perf_counter() - begin) * 1000
