//! What a container's processes may do: capabilities, system calls, what is hidden.

use std::path::Path;

use bollard_stubs::models::HostConfig;
use oci_spec::runtime::{Capabilities, Capability, Spec};

use super::error::{Error, Result};
use super::seccomp_profile;
use crate::runtime::seccomp::docker_default;
use crate::runtime::{DEFAULT_CAPABILITIES, docker_capabilities};

/// What `--security-opt` says, all of it together.
#[derive(Debug, Default, PartialEq)]
struct Options {
    no_new_privileges: bool,
    seccomp: Seccomp,
    writable_cgroups: bool,
}

#[derive(Debug, Default, PartialEq)]
enum Seccomp {
    /// Docker's list, but none for a privileged container.
    #[default]
    Builtin,
    Unconfined,
    Profile(String),
}

/// Writes down what the container may do.
pub fn secure(spec: &mut Spec, host: &HostConfig) -> Result<()> {
    let privileged = host.privileged == Some(true);
    let options = options(host)?;
    // What root may do also decides which system calls pass.
    let capabilities = capabilities(host)?;
    let process = spec.process_mut().as_mut().expect("the default has a process");
    process.set_capabilities(Some(docker_capabilities(&capabilities)));
    process.set_no_new_privileges(Some(options.no_new_privileges));
    let linux = spec.linux_mut().as_mut().expect("the default has a linux section");
    linux.set_seccomp(match options.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Builtin if privileged => None,
        Seccomp::Builtin => Some(docker_default(&capabilities)),
        Seccomp::Profile(text) => Some(seccomp_profile::parse(&text, &capabilities)?),
    });
    if privileged {
        linux.set_masked_paths(None).set_readonly_paths(None);
    } else {
        if let Some(paths) = &host.masked_paths {
            linux.set_masked_paths(Some(paths.clone()));
        }
        if let Some(paths) = &host.readonly_paths {
            linux.set_readonly_paths(Some(paths.clone()));
        }
    }
    let writable = |path: &Path| match privileged {
        true => path.starts_with("/sys"),
        false => options.writable_cgroups && path == Path::new("/sys/fs/cgroup"),
    };
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if writable(mount.destination()) {
            let words = mount.options().clone().unwrap_or_default();
            mount.set_options(Some(words.into_iter().filter(|word| word != "ro").collect()));
        }
    }
    Ok(())
}

/// Docker's default capabilities, and `--cap-add`, `--cap-drop`, `--privileged`.
fn capabilities(host: &HostConfig) -> Result<Capabilities> {
    let known = |name: &str| -> Result<Capability> {
        let upper = name.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
        serde_json::from_value(serde_json::json!(format!("CAP_{name}")))
            .map_err(|_| Error::bad_parameter(format!("unknown capability: \"CAP_{name}\"")))
    };
    let is_all =
        |name: &&String| name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case("cap_all");
    // Those that are named, and whether all are.
    let read = |names: &Option<Vec<String>>| -> Result<(Capabilities, bool)> {
        let names = || names.iter().flatten();
        let named = names().filter(|name| !is_all(name)).map(|name| known(name));
        Ok((named.collect::<Result<_>>()?, names().any(|name| is_all(&name))))
    };
    let ((add, add_all), (drop, drop_all)) = (read(&host.cap_add)?, read(&host.cap_drop)?);
    let without = |set: Capabilities| set.difference(&drop).copied().collect::<Capabilities>();
    // Docker's rules: to a privileged container all, whatever else is said; what is dropped
    // goes from all, or from the default; and what is added by its name is there.
    Ok(match () {
        () if host.privileged == Some(true) => all_capabilities(),
        () if add_all => without(all_capabilities()),
        () if drop_all => add,
        () => without(DEFAULT_CAPABILITIES.into_iter().collect()).union(&add).copied().collect(),
    })
}

/// Everything that root may do on this machine, as far as we may ourselves.
pub fn all_capabilities() -> Capabilities {
    let bounding = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    let names = bounding.iter().map(ToString::to_string);
    names.filter_map(|name| name.trim_start_matches("CAP_").parse().ok()).collect()
}

fn options(host: &HostConfig) -> Result<Options> {
    let mut options = Options::default();
    for option in host.security_opt.iter().flatten() {
        options.set(option)?;
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, option: &str) -> Result<()> {
        let wrong = || Error::bad_parameter(format!("invalid --security-opt: {option:?}"));
        let truth = |text: &str| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(wrong()),
        };
        // Docker's older separator still counts where there is no newer one.
        let parts = option.split_once('=').or_else(|| option.split_once(':'));
        match parts {
            None if option == "no-new-privileges" => self.no_new_privileges = true,
            None if option == "disable" => {}
            None => return Err(wrong()),
            Some(("no-new-privileges", value)) => self.no_new_privileges = truth(value)?,
            Some(("writable-cgroups", value)) => self.writable_cgroups = truth(value)?,
            Some(("seccomp", "unconfined")) => self.seccomp = Seccomp::Unconfined,
            Some(("seccomp", "builtin" | "")) => self.seccomp = Seccomp::Builtin,
            Some(("seccomp", profile)) => self.seccomp = Seccomp::Profile(profile.to_owned()),
            Some(("apparmor", "unconfined" | "")) | Some(("label", "disable")) => {}
            // Where the kernel has no such module, Docker lets these names pass too.
            Some(("apparmor", profile)) => {
                refuse_module("/sys/kernel/security/apparmor", "AppArmor profile", profile)?;
            }
            Some(("label", label)) => refuse_module("/sys/fs/selinux", "SELinux label", label)?,
            Some(_) => return Err(wrong()),
        }
        Ok(())
    }
}

fn refuse_module(folder: &str, what: &str, name: &str) -> Result<()> {
    match Path::new(folder).exists() {
        true => Err(Error::bad_parameter(format!(
            "the {what} {name:?} cannot be set: this engine confines by capabilities and seccomp only"
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Option<Options> {
        let security_opt = Some(given.iter().map(ToString::to_string).collect());
        options(&HostConfig { security_opt, ..Default::default() }).ok()
    }

    #[test]
    fn security_options_are_written_as_docker_has_them() {
        let on = Options { no_new_privileges: true, ..Options::default() };
        for text in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=1"] {
            assert_eq!(read(&[text]).as_ref(), Some(&on), "{text}");
        }
        assert_eq!(read(&["no-new-privileges=false"]), Some(Options::default()));
        assert_eq!(read(&["seccomp:unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(read(&["seccomp={}"]).unwrap().seccomp, Seccomp::Profile("{}".into()));
        assert_eq!(read(&["apparmor=unconfined", "label=disable"]), Some(Options::default()));
        for bad in ["", "no-new-privileges=maybe", "wishes=all", "confined"] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn capabilities_are_added_and_dropped_by_either_name() {
        let set = |add: &[&str], drop: &[&str]| {
            let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
            let host =
                HostConfig { cap_add: list(add), cap_drop: list(drop), ..Default::default() };
            capabilities(&host).map(|set| set.len()).map_err(|error| error.to_string())
        };
        assert_eq!(set(&[], &[]), Ok(14));
        assert_eq!(set(&["NET_ADMIN", "cap_sys_time"], &["CAP_CHOWN"]), Ok(15));
        assert_eq!(set(&["CHOWN"], &["ALL"]), Ok(1));
        assert_eq!(set(&["NET_RAW"], &["NET_RAW"]), Ok(14), "what is added is there");
        let all = all_capabilities().len();
        assert_eq!(set(&["ALL", "CHOWN"], &["CHOWN", "MKNOD"]), Ok(all - 2));
        assert_eq!(set(&["ALL"], &["ALL"]), Ok(all));
        assert_eq!(set(&["WISHES"], &[]), Err("unknown capability: \"CAP_WISHES\"".into()));
    }
}
