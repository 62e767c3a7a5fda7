"""The place where the tools are measured, and what lies ready in it."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HOME = "coracle-bench-"
CGROUPS = ("coracle-bench", "libpod")


def enter(args, script):
    """Runs the script again, inside; cleans up after it however it ends."""
    for program in ["hyperfine", "docker-registry", "skopeo", "mkfs.ext4", "unshare", "setpriv"]:
        if not shutil.which(program):
            sys.exit(f"bench: {program} is missing: apt-get install hyperfine docker-registry "
                     "skopeo e2fsprogs util-linux")
    layer = debian_layer(os.path.join(os.path.dirname(script), "..", "target", "bench"))
    sweep()
    home = tempfile.mkdtemp(prefix=f"{HOME}{os.getpid()}-", dir="/var/tmp")
    try:
        subprocess.run(["truncate", "-s", "12G", f"{home}/disk"], check=True)
        subprocess.run(["mkfs.ext4", "-q", f"{home}/disk"], check=True)
        os.mkdir(f"{home}/data")
        os.link(layer, f"{home}/layer.tar.gz") if same_disk(layer, home) else shutil.copy(
            layer, f"{home}/layer.tar.gz")
        inside = [sys.executable, script, "--inside", home, "--only", args.only]
        inside += ["--quick"] if args.quick else []
        inside += ["--tools", args.tools] if args.tools else []
        for option, value in [("--coracle", args.coracle), ("--out", args.out)]:
            inside += [option, os.path.abspath(value)] if value else []
        # The shell is the first process of the namespace: it reaps what the tools
        # leave to init. All end with it, and it ends with us.
        return subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork",
             "--kill-child=KILL", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"] + inside
        ).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        time.sleep(0.5)
        remove_cgroups()
        shutil.rmtree(home, ignore_errors=True)


def sweep():
    """Removes the disks of runs that were killed."""
    for name in os.listdir("/var/tmp"):
        pid = name[len(HOME):].split("-")[0] if name.startswith(HOME) else ""
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(f"/var/tmp/{name}", ignore_errors=True)


def same_disk(a, b):
    return os.stat(a).st_dev == os.stat(b).st_dev


def debian_layer(folder):
    """A minimal Debian as a gzipped tar (about 90 MB); kept for the next time."""
    os.makedirs(folder, exist_ok=True)
    layer = os.path.abspath(os.path.join(folder, "debian.tar.gz"))
    if os.path.exists(layer):
        return layer
    with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        root = f"{work}/root"
        command = ["debootstrap", "--variant=minbase", "stable", root]
        print("bench: debootstrap of a minimal Debian", file=sys.stderr)
        if not shutil.which("debootstrap") or subprocess.run(command, stdout=sys.stderr).returncode:
            print("bench: no debootstrap; a layer of 200 MB from /usr instead", file=sys.stderr)
            root = "/usr"
        files = sorted(os.path.relpath(os.path.join(at, name), root)
                       for at, folders, names in os.walk(root) for name in names + folders)
        if root == "/usr":
            files = up_to(files, root, 200 << 20)
        listing = "\0".join(files)
        with open(f"{work}/layer.tar.gz", "wb") as target:
            tar = subprocess.Popen(
                ["tar", "-C", root, "--numeric-owner", "--no-recursion", "--null", "-T", "-", "-cz"],
                stdin=subprocess.PIPE, stdout=target)
            tar.communicate(listing.encode(errors="surrogateescape"))
        if tar.returncode:
            sys.exit("bench: tar could not write the layer")
        shutil.move(f"{work}/layer.tar.gz", layer)
    return layer


def up_to(files, root, limit):
    chosen, size = [], 0
    for name in files:
        size += os.lstat(os.path.join(root, name)).st_size
        if size > limit:
            break
        chosen.append(name)
    return chosen


def remove_cgroups():
    """Removes the empty cgroups that the tools make, the deepest first."""
    for at, folders, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if any(part.startswith(CGROUPS) for part in at.split("/")[4:]):
            try:
                os.rmdir(at)
            except OSError:
                pass  # another podman's, and in use


class Place:
    """The inside: `data` on the fresh ext4, a registry with the two images."""

    def __init__(self, home):
        self.home, self.data = home, f"{home}/data"
        run("ip", "link", "set", "lo", "up")
        run("mount", "-o", "loop", f"{home}/disk", self.data)
        # crun refuses cgroup v1 with a v2 tree beside it; so nobody gets that tree.
        if os.path.isdir("/sys/fs/cgroup/unified"):
            run("umount", "/sys/fs/cgroup/unified")
        # The tools' state goes where nothing outside can see it.
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for name, target in [("containers", "/var/lib/containers"), ("tmp", "/var/tmp")]:
            os.makedirs(f"{self.data}/{name}", exist_ok=True)
        if os.path.isdir("/var/lib/containers"):
            run("mount", "--bind", f"{self.data}/containers", "/var/lib/containers")
        os.environ["TMPDIR"] = f"{self.data}/tmp"
        self.address = "127.0.0.1:5123"
        self.layer = f"{self.data}/layer.tar.gz"
        shutil.copy(f"{home}/layer.tar.gz", self.layer)
        self.start_registry()
        self.small = self.push("small", busybox_layer(self.data), ["sleep", "1000000"])
        self.debian = self.push("debian", self.layer, ["bash"])

    def start_registry(self):
        config = (f"version: 0.1\nlog: {{level: error}}\n"
                  f"storage: {{filesystem: {{rootdirectory: {self.data}/registry}}}}\n"
                  f"http: {{addr: '{self.address}'}}\n")
        with open(f"{self.data}/registry.yml", "w") as file:
            file.write(config)
        subprocess.Popen(["docker-registry", "serve", f"{self.data}/registry.yml"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: subprocess.run(["skopeo", "list-tags", "--tls-verify=false",
                                         f"docker://{self.address}/none"], capture_output=True,
                                        text=True).stderr.find("refused") < 0, "docker-registry")

    def push(self, name, layer, command):
        """One layer as an OCI layout, copied to the registry; returns the reference."""
        layout = f"{self.data}/layout-{name}"
        oci_layout(layout, layer, command)
        reference = f"{self.address}/{name}:1"
        run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false",
            f"oci:{layout}:1", f"docker://{reference}")
        return reference


def busybox_layer(data):
    root, layer = f"{data}/busybox", f"{data}/busybox.tar.gz"
    busybox = shutil.which("busybox") or sys.exit("bench: busybox is missing: apt-get install busybox-static")
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"]:
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    shutil.copy(busybox, f"{root}/bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", f"{root}/bin/{applet}")
    run("tar", "-C", root, "--numeric-owner", "--owner=0", "--group=0", "-czf", layer, ".")
    return layer


def oci_layout(layout, layer, command):
    blobs = f"{layout}/blobs/sha256"
    os.makedirs(blobs)

    def blob(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        with open(f"{blobs}/{digest}", "wb") as file:
            file.write(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}",
                "size": len(content)}

    with open(layer, "rb") as file:
        packed = file.read()
    diff_id = "sha256:" + hashlib.sha256(gzip.decompress(packed)).hexdigest()
    config = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
              "config": {"Cmd": command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob("config.v1+json", json.dumps(config).encode()),
                "layers": [blob("layer.v1.tar+gzip", packed)]}
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    for name, content in [("index.json", {"schemaVersion": 2, "manifests": [entry]}),
                          ("oci-layout", {"imageLayoutVersion": "1.0.0"})]:
        with open(f"{layout}/{name}", "w") as file:
            json.dump(content, file)


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_for(ready, what, seconds=30):
    end = time.time() + seconds
    while not ready():
        if time.time() > end:
            raise RuntimeError(f"{what} does not answer")
        time.sleep(0.05)


# --- memory ------------------------------------------------------------------


def helpers():
    """Every process of this place that is not inside a container: pid -> name."""
    own, found = os.readlink("/proc/self/ns/pid"), {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if os.readlink(f"/proc/{entry}/ns/pid") != own:
                continue
            with open(f"/proc/{entry}/stat") as file:
                stat = file.read()
            if stat.rsplit(")", 1)[1].split()[0] != "Z":
                found[int(entry)] = stat[stat.index("(") + 1:stat.rindex(")")]
        except OSError:
            pass  # it ended
    return found


def settled_helpers(before):
    """The helpers that came and stayed."""
    time.sleep(2)
    return {pid: name for pid, name in helpers().items() if pid not in before}


def pss(pid):
    """KiB."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0
