//! OCI's mounts and devices in lesson 3's words.

use namespaces::{Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount as OciMount};
use rootfs::{Device, Flags, Kind, Mount, Propagation};

use super::instructions::Instructions;

/// One mount, with what the instructions add to it.
pub(super) fn mount(oci: &OciMount, instructions: &Instructions) -> Result<Mount> {
    let destination = oci.destination().clone();
    let options = oci.options().as_deref().unwrap_or_default();
    let mut flags = Flags::NONE;
    let mut propagation = None;
    let mut data = Vec::new();
    for option in options {
        match (option.as_str(), Propagation::parse(option)) {
            (_, Some(found)) => propagation = Some(found),
            ("bind" | "rbind" | "rro" | "relatime" | "private-mount", _) => {}
            (option, _) => {
                if !set_flag(&mut flags, option) {
                    data.push(option);
                }
            }
        }
    }
    let has = |word: &str| options.iter().any(|option| option == word);
    let mut mount = Mount::new(kind(oci, instructions, &has)?, destination.clone(), flags);
    mount.data = data.join(",");
    mount.copy_up = instructions.copy_up.contains(&destination);
    mount.propagation = propagation.unwrap_or_default();
    Ok(mount)
}

fn kind(oci: &OciMount, instructions: &Instructions, has: &dyn Fn(&str) -> bool) -> Result<Kind> {
    let destination = oci.destination();
    let bind = || {
        let source = oci.source().clone().ok_or_else(|| {
            Error::new(format!("mount {}: a bind needs a source", destination.display()))
        })?;
        Ok(Kind::Bind {
            source,
            subpath: instructions.subpaths.get(destination).cloned(),
            recursive: has("rbind"),
            recursive_read_only: has("ro") || has("rro"),
        })
    };
    if has("bind") || has("rbind") {
        return bind();
    }
    match oci.typ().as_deref() {
        Some("tmpfs") => Ok(Kind::Tmpfs),
        Some("proc") => Ok(Kind::Proc),
        Some("sysfs") => Ok(Kind::Sysfs),
        Some("mqueue") => Ok(Kind::Mqueue),
        Some("devpts") => Ok(Kind::Devpts),
        Some("cgroup" | "cgroup2") => Ok(Kind::Cgroup),
        Some("bind") | None => bind(),
        Some(other) => Err(Error::new(format!(
            "mount {}: there is no mount of type {other:?}",
            destination.display()
        ))),
    }
}

/// The words of mount(8). False if it is none of them, but the file system's own.
fn set_flag(flags: &mut Flags, option: &str) -> bool {
    let (flag, value) = match option {
        "ro" => (&mut flags.read_only, true),
        "rw" => (&mut flags.read_only, false),
        "nosuid" => (&mut flags.nosuid, true),
        "suid" => (&mut flags.nosuid, false),
        "nodev" => (&mut flags.nodev, true),
        "dev" => (&mut flags.nodev, false),
        "noexec" => (&mut flags.noexec, true),
        "exec" => (&mut flags.noexec, false),
        "strictatime" => (&mut flags.strictatime, true),
        "noatime" => (&mut flags.noatime, true),
        _ => return false,
    };
    *flag = value;
    true
}

/// One device, with its node on the host, which stands in where none can be made.
pub(super) fn device(oci: &LinuxDevice, instructions: &Instructions) -> Device {
    let path = oci.path().clone();
    let source = instructions.devices.get(&path).unwrap_or(&path);
    Device {
        source: std::fs::canonicalize(source).unwrap_or_else(|_| source.clone()),
        path,
        block: oci.typ() == LinuxDeviceType::B,
        major: oci.major() as u32,
        minor: oci.minor() as u32,
        mode: oci.file_mode().unwrap_or(0o666) & 0o7777,
        uid: oci.uid().unwrap_or(0),
        gid: oci.gid().unwrap_or(0),
    }
}
