"""The tools: for each, the commands that do the same thing."""

import json
import os
import shutil
import subprocess
import sys

import place


class Tool:
    """One tool. `missing` says why it is not measured; a method that answers
    None says that the tool has no such thing."""

    name = program = None
    daemons = ()
    is_idle = False

    def __init__(self, here):
        self.here = here
        self.missing = None if shutil.which(self.program) else "not installed"

    def version(self):
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True)
        return (done.stdout.strip().splitlines() or ["?"])[0]

    def guarded(self, doing, act):
        """What a tool cannot do is told in the report, and the others go on."""
        try:
            act()
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            self.missing = f"{doing} failed: " + " ".join(str(error).split())[:300]
            print(f"bench: {self.name}: {self.missing}", file=sys.stderr)

    def prepare(self):
        pass

    def run(self, network):
        pass

    def execute(self):
        pass

    def pull(self):
        pass

    def forget(self):
        pass

    def idle(self):
        pass

    def idle_end(self):
        pass


class Engine(Tool):
    """A tool with Docker's command line."""

    pull_flags = []
    run_flags = []

    def line(self, *words):
        return [self.program, *words]

    def prepare(self):
        place.run(*self.line("pull", *self.pull_flags, self.here.small))

    def run(self, network):
        return self.line("run", "--rm", *self.run_flags, "--network", network, self.here.small, "true")

    def execute(self):
        return self.line("exec", "bench-idle", "true")

    def pull(self):
        return self.line("pull", *self.pull_flags, self.here.debian)

    def forget(self):
        remove = " ".join(self.line("rmi", self.here.debian))
        return f"sh -c '{remove} >/dev/null 2>&1; sync'"

    def idle(self):
        try:
            place.run(*self.line("run", "-d", "--name", "bench-idle", *self.run_flags, "--network",
                                 "none", self.here.small, "sleep", "1000000"))
        except RuntimeError:
            subprocess.run(self.line("rm", "-f", "bench-idle"), capture_output=True)
            raise
        self.is_idle = True

    def idle_end(self):
        if self.is_idle:
            place.run(*self.line("rm", "-f", "bench-idle"))
        self.is_idle = False


class Coracle(Engine):
    name = program = "coracle"

    def __init__(self, here, binary):
        super().__init__(here)
        self.program = binary or "coracle"
        self.missing = None if binary and os.path.exists(binary) else "does not build"

    def line(self, *words):
        return [self.program, "--root", f"{self.here.data}/coracle", *words]


class Podman(Engine):
    name = program = "podman"
    pull_flags = ["--tls-verify=false"]
    run_flags = ["--cgroup-parent", "/coracle-bench/podman"]


class Docker(Engine):
    name = program = "docker"
    daemons = ("dockerd", "containerd")

    def __init__(self, here):
        super().__init__(here)
        self.socket = f"unix://{here.data}/docker.sock"
        if not shutil.which("dockerd"):
            self.missing = "dockerd is not installed"

    def version(self):
        done = subprocess.run(["dockerd", "--version"], capture_output=True, text=True)
        return f"{super().version()} (client), {done.stdout.strip()} (daemon)"

    def line(self, *words):
        return [self.program, "-H", self.socket, *words]

    def prepare(self):
        data = self.here.data
        with open(f"{data}/none.json", "w") as file:
            file.write("{}")
        with open(f"{data}/dockerd.log", "w") as log:
            subprocess.Popen(
                ["dockerd", "-H", self.socket, "--data-root", f"{data}/docker", "--exec-root",
                 f"{data}/docker-run", "--pidfile", f"{data}/docker.pid", "--config-file",
                 f"{data}/none.json", "--exec-opt", "native.cgroupdriver=cgroupfs",
                 "--cgroup-parent", "/coracle-bench/docker"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        place.wait_for(lambda: subprocess.run(self.line("info"), capture_output=True).returncode == 0,
                       f"dockerd ({data}/dockerd.log)")
        super().prepare()


class Runtime(Tool):
    """crun and runc: no engine, but an OCI bundle that somebody else made."""

    def prepare(self):
        self.bundle = bundle(self.here, self.name, ["true"])
        self.idle_bundle = bundle(self.here, f"{self.name}-idle", ["sleep", "1000000"])

    def run(self, network):
        if network == "none":
            return [self.program, "run", "--bundle", self.bundle, f"bench-{self.name}"]

    def execute(self):
        return [self.program, "exec", f"bench-{self.name}-idle", "true"]

    def idle(self):
        # With its output thrown away, so that nobody waits for the end of a pipe.
        command = [self.program, "run", "--detach", "--bundle", self.idle_bundle,
                   f"bench-{self.name}-idle"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with open(f"{self.idle_bundle}/errors", "w+") as errors:
            if subprocess.run(command, stderr=errors, **quiet).returncode:
                errors.seek(0)
                raise RuntimeError(errors.read().strip())
        self.is_idle = True

    def idle_end(self):
        if self.is_idle:
            place.run(self.program, "delete", "--force", f"bench-{self.name}-idle")
        self.is_idle = False


class Crun(Runtime):
    name = program = "crun"


class Runc(Runtime):
    name = program = "runc"


class Tar(Tool):
    """Only unpacks: no network, no digest."""

    name, program = "tar xzf", "tar"

    def pull(self):
        return ["tar", "-C", f"{self.here.data}/untar", "-xzf", self.here.layer]

    def forget(self):
        target = f"{self.here.data}/untar"
        return f"sh -c 'rm -rf {target}; mkdir {target}; sync'"


class Skopeo(Tool):
    """Copies an image into podman's store."""

    name = program = "skopeo"

    def pull(self):
        return ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
                f"docker://{self.here.debian}", self.target()]

    def target(self):
        data = self.here.data
        return f"containers-storage:[overlay@{data}/skopeo+{data}/skopeo-run]debian:1"

    def forget(self):
        return f"sh -c 'skopeo delete {self.target()} >/dev/null 2>&1; sync'"


class Umoci(Tool):
    """Unpacks from a layout on the same disk: no network."""

    name, program = "umoci unpack", "umoci"

    def pull(self):
        return ["umoci", "unpack", "--image", f"{self.here.data}/layout-debian:1",
                f"{self.here.data}/umoci"]

    def forget(self):
        return f"sh -c 'rm -rf {self.here.data}/umoci; sync'"


def all_tools(here, coracle, names=""):
    """Coracle first: it makes the bundle's configuration that the runtimes get. With
    `names`, only it and those that are named are used."""
    tools = [Coracle(here, coracle), Crun(here), Runc(here), Podman(here), Docker(here),
             Tar(here), Skopeo(here), Umoci(here)]
    for tool in tools[1:]:
        if names and tool.program not in names.split(","):
            tool.missing = "not asked for"
    return tools


# --- the bundle ----------------------------------------------------------------


def bundle(here, name, args):
    """A bundle for crun and runc whose capabilities, seccomp list, masks and mounts
    are those of an engine's container. Its root is a plain folder: the runtimes
    are spared the overlay."""
    folder = f"{here.data}/bundle-{name}"
    shutil.copytree(f"{here.data}/busybox", f"{folder}/rootfs", symlinks=True)
    config = engine_config(here)
    config["root"] = {"path": "rootfs", "readonly": False}
    config["process"].update(args=args, terminal=False, cwd="/")
    config["linux"]["cgroupsPath"] = f"/coracle-bench/{name}"
    for namespace in config["linux"]["namespaces"]:
        namespace.pop("path", None)
    # Binds are of files that belong to the engine's container.
    config["mounts"] = [m for m in config["mounts"]
                        if m.get("type") != "bind" and "bind" not in m.get("options", [])]
    for key in ["hooks", "annotations"]:
        config.pop(key, None)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file)
    return folder


def engine_config(here):
    """config.json of a container that coracle made, or podman."""
    for make in [coracle_config, podman_config]:
        config = make(here)
        if config:
            return config
    raise RuntimeError("neither coracle nor podman made a bundle to share")


def coracle_config(here):
    containers = f"{here.data}/coracle/containers"
    engine = here.coracle
    if engine.missing:
        return None
    try:
        engine.idle()
        made = [f"{containers}/{id}/config.json" for id in os.listdir(containers)]
        with open(next(path for path in made if os.path.exists(path))) as file:
            here.bundle_from = "coracle"
            return json.load(file)
    except (OSError, RuntimeError, StopIteration):
        return None
    finally:
        engine.idle_end()


def podman_config(here):
    if not shutil.which("podman"):
        return None
    podman = Podman(here)
    Engine.prepare(podman)
    podman.idle()
    try:
        id = place.run("podman", "inspect", "--format", "{{.Id}}", "bench-idle").strip()
        userdata = f"/var/lib/containers/storage/overlay-containers/{id}/userdata"
        with open(f"{userdata}/config.json") as file:
            here.bundle_from = "podman"
            return json.load(file)
    finally:
        podman.idle_end()
