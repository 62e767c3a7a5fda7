//! What this machine and this engine are: `info`.

use std::fs;

use cgroups::{Hierarchy, Mounts};
use nix::sys::utsname::uname;
use serde_json::{Value as Json, json};

use super::error::Result;
use super::{Engine, time};

/// Docker's `GET /info`.
pub fn info(engine: &Engine) -> Result<Json> {
    let count = engine.containers.count()?;
    let release = Release::read();
    let (name, kernel, machine) = machine();
    let mut info = json!({
        "ID": id(engine),
        "Containers": count.all,
        "ContainersRunning": count.running,
        "ContainersPaused": count.paused,
        "ContainersStopped": count.all - count.running - count.paused,
        "Images": engine.images.list()?.len(),
        "Driver": "overlay2",
        "DriverStatus": [["Supports d_type", "true"], ["userxattr", "false"]],
        "IPv4Forwarding": read("/proc/sys/net/ipv4/ip_forward") == "1",
        "Debug": false,
        "NFd": fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        "NGoroutines": fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
        "SystemTime": time::now(),
        "LoggingDriver": "json-file",
        "NEventsListener": 0,
        "KernelVersion": kernel,
        "OperatingSystem": release.name,
        "OSVersion": release.version,
        "OSType": "linux",
        "Architecture": machine,
        "NCPU": std::thread::available_parallelism().map_or(1, |count| count.get()),
        "MemTotal": total_memory(),
        "GenericResources": null,
        "DockerRootDir": engine.root.data().display().to_string(),
        "Name": name,
    });
    let more = [services(), limits()].into_iter().filter_map(|more| match more {
        Json::Object(more) => Some(more),
        _ => None,
    });
    info.as_object_mut().expect("it is one").extend(more.flatten());
    Ok(info)
}

/// What the engine is made of, and what it speaks to.
fn services() -> Json {
    json!({
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file", "local", "none"],
        },
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": { "Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true },
            },
            "Mirrors": [],
        },
        "HttpProxy": proxy("HTTP_PROXY"),
        "HttpsProxy": proxy("HTTPS_PROXY"),
        "NoProxy": proxy("NO_PROXY"),
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "coracle": { "path": "coracle" } },
        "DefaultRuntime": "coracle",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        // Containers go on without a daemon, and there is no other way.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "coracle",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": security(),
        "CDISpecDirs": [],
        "Warnings": [],
    })
}

/// Which limits the kernel offers, and by which version of its interface.
fn limits() -> Json {
    let mounts = Mounts::of_this_process().unwrap_or_default();
    let unified = mounts.hierarchy() == Some(Hierarchy::V2);
    let trees = mounts.v1.iter().chain(mounts.v2.iter());
    let controllers: Vec<&String> = trees.flat_map(|tree| &tree.controllers).collect();
    let has = |name: &str| controllers.iter().any(|controller| *controller == name);
    let (memory, cpu) = (has("memory"), has("cpu"));
    let v1 = |name: &str, file: &str| {
        let tree = mounts.v1.iter().find(|tree| tree.controllers.iter().any(|own| own == name));
        tree.is_some_and(|tree| tree.mountpoint.join(file).exists())
    };
    let swap = memory && (unified || v1("memory", "memory.memsw.limit_in_bytes"));
    json!({
        "MemoryLimit": memory,
        "SwapLimit": swap,
        "CpuCfsPeriod": cpu,
        "CpuCfsQuota": cpu,
        "CPUShares": cpu,
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "OomKillDisable": memory && !unified,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified { "2" } else { "1" },
    })
}

/// What stands between a container and this machine.
fn security() -> Vec<&'static str> {
    let mut options = vec!["name=seccomp,profile=builtin"];
    if fs::exists("/proc/self/ns/cgroup").unwrap_or(false) {
        options.push("name=cgroupns");
    }
    if namespaces::userns::needed() {
        options.push("name=rootless");
    }
    options
}

/// The same for ever, for one root on one machine.
fn id(engine: &Engine) -> String {
    let machine = read("/etc/machine-id");
    let root = engine.root.data().display().to_string();
    let half = |word: &str| networking::hash(format!("{word} {machine} {root}").as_bytes());
    let (a, b) = (half("engine"), half("root"));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

/// The machine's name, its kernel, and what it is.
fn machine() -> (String, String, String) {
    let Ok(name) = uname() else { return Default::default() };
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    (text(name.nodename()), text(name.release()), text(name.machine()))
}

/// What os-release(5) says.
struct Release {
    name: String,
    version: String,
}

impl Release {
    fn read() -> Self {
        let text = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        Self {
            name: value("PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
            version: value("VERSION_ID").unwrap_or_default(),
        }
    }
}

/// In bytes.
fn total_memory() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// A proxy that pulls go through. Passwords are nobody's business.
fn proxy(name: &str) -> String {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase()));
    let value = value.unwrap_or_default();
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        _ => value,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
