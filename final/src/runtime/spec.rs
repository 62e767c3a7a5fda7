//! Docker's defaults, as an OCI runtime configuration. The engine changes it by what
//! the user asked for; the result is also a bundle that any OCI runtime can run.

use cgroups::{DEFAULT_RULES, DeviceKind, DeviceRule};
use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, Spec,
};
use serde_json::{Value, json};

// ANCHOR: capabilities
/// What root in a container may do of what root may do. Docker's list.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];
// ANCHOR_END: capabilities

/// A container with Docker's defaults that runs `sh` as root. Which system calls it may
/// make is for [`docker_default`](super::seccomp::docker_default) to say, when it is known
/// what root may do in it.
pub fn default_spec() -> Spec {
    let capabilities = DEFAULT_CAPABILITIES.into_iter().collect();
    let namespaces = ["pid", "mount", "uts", "ipc", "network", "cgroup"];
    let namespaces = namespaces.map(|kind| json!({ "type": kind }));
    let spec = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [format!("PATH={}", namespaces::DEFAULT_PATH)],
            "cwd": "/",
            "capabilities": docker_capabilities(&capabilities),
            "noNewPrivileges": false,
        },
        "mounts": default_mounts(),
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": rootfs::default_masked(),
            "readonlyPaths": rootfs::DEFAULT_READONLY,
            "resources": { "devices": default_devices() },
        },
    });
    serde_json::from_value(spec).expect("the default configuration is a valid one")
}

/// The sets of a container with these capabilities. None is inheritable or ambient:
/// a program of another user than root has none (CVE-2022-24769).
pub fn docker_capabilities(capabilities: &Capabilities) -> LinuxCapabilities {
    LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities.clone())
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
        .expect("all sets are given")
}

fn default_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs",
          "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["ro", "nosuid", "noexec", "nodev"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
    ])
}

/// Nothing, but for the harmless ones: lesson 2's list in OCI's words.
fn default_devices() -> Vec<Value> {
    let nothing = json!({ "allow": false, "access": "rwm" });
    std::iter::once(nothing).chain(DEFAULT_RULES.iter().map(device_rule)).collect()
}

/// One permission in OCI's words.
pub fn device_rule(rule: &DeviceRule) -> Value {
    let kind = match rule.kind {
        DeviceKind::All => "a",
        DeviceKind::Block => "b",
        DeviceKind::Char => "c",
    };
    let access = [(rule.access.read, "r"), (rule.access.write, "w"), (rule.access.mknod, "m")];
    let access: String = access.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect();
    let mut value = json!({ "allow": true, "type": kind, "access": access });
    for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
        if let Some(number) = number {
            value[name] = number.into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::seccomp::docker_default;
    use super::*;

    #[test]
    fn the_defaults_are_a_configuration_that_comes_back_as_it_was() {
        let mut spec = default_spec();
        let list = docker_default(&DEFAULT_CAPABILITIES.into_iter().collect());
        spec.linux_mut().as_mut().unwrap().set_seccomp(Some(list));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
        assert!(text.len() < 20_000, "{} bytes", text.len());
    }
}
