"""The table."""

import os
import platform
import statistics
import time

# What the project promises: (measure, ours, theirs, at most this part of theirs).
TARGETS = [
    ("start none", "crun", 0.5),
    ("start none in a row", "crun", 0.5),
    ("start bridge", "docker", 0.1),
    ("start bridge in a row", "docker", 0.1),
    ("exec", "crun", 0.5),
    ("exec in a row", "crun", 0.5),
    ("pull", "docker", 0.35),
    ("pull", "tar xzf", 1.0),
    ("starts", "docker", 0.2),
    ("ps", "docker", 1.0),
    ("logs", "docker", 0.1),
    ("attach", "docker", 0.5),
]
SHIM_KIB = 1024


def name():
    return time.strftime("%Y-%m-%d.md")


def render(results, tools):
    lines = [f"# Measured {time.strftime('%Y-%m-%d')}", "", "`bench/run`", ""]
    lines += [machine(), "", "| tool | version |", "|---|---|"]
    for tool in tools:
        lines.append(f"| {tool.name} | {('missing: ' + tool.missing) if tool.missing else tool.version()} |")
    source = getattr(tools[0].here, "bundle_from", None)
    if source:
        lines += ["", f"crun and runc run an OCI bundle with the configuration (seccomp list, capabilities, "
                  f"masks, mounts) of a container that {source} made, on a plain folder as root."]
    for key, title, unit, rows in results:
        lines += ["", f"## {title[0].upper()}{title[1:]}", ""] + table(rows, unit)
    return "\n".join(lines + ["", "## Targets", ""] + targets(results)) + "\n"


def machine():
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    cgroup = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
    return (f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {memory} GiB, "
            f"Linux {platform.release().split('-')[0]}, cgroup {cgroup}; data on a fresh ext4 in a loop-mounted file. "
            "Trust the ratios, not the times.")


def table(rows, unit):
    medians = {tool: statistics.median(times) for tool, times, _ in rows if times}
    ours = medians.get("coracle")
    lines = [f"| tool | median ({unit}) | least | most | runs | to coracle | |", "|---|--:|--:|--:|--:|--:|---|"]
    for tool, times, note in rows:
        if not times:
            lines.append(f"| {tool} | | | | 0 | | {note} |")
            continue
        ratio = f"{medians[tool] / ours:.1f}" if ours else ""
        numbers = [f"{n:.1f}" for n in (medians[tool], min(times), max(times))]
        lines.append(f"| {tool} | {' | '.join(numbers)} | {len(times)} | {ratio} | {note} |")
    return lines


def targets(results):
    medians = {(key, tool): statistics.median(times)
               for key, _, _, rows in results for tool, times, _ in rows if times}
    titles = {key: title for key, title, _, _ in results}
    lines = ["| what | target | found | |", "|---|---|--:|---|"]
    for key, peer, most in TARGETS:
        ours, theirs = medians.get((key, "coracle")), medians.get((key, peer))
        if key in titles:
            wanted = f"at most {most:g} of {peer}" if most < 1 else f"below {peer}"
            lines.append(row(titles[key], wanted, ours / theirs if ours and theirs else None, most, ""))
    if "memory" in titles:
        lines.append(row(titles["memory"], f"at most {SHIM_KIB} KiB", medians.get(("memory", "coracle")),
                         SHIM_KIB, " KiB"))
    return lines


def row(title, wanted, found, most, unit):
    if found is None:
        return f"| {title} | {wanted} | | not measured |"
    shown = f"{found:.0f}{unit}" if unit else f"{found:.2f}"
    return f"| {title} | {wanted} | {shown} | {'met' if found <= most else 'missed'} |"
