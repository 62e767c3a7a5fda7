//! What this machine can limit, for whoever asks, before anything fails.

use namespaces::doctor::Check;

use crate::hierarchy::{Hierarchy, Mounts, Tree};

/// The checks of this lesson and of the one before.
pub fn checks() -> Vec<Check> {
    let mut checks = namespaces::doctor::checks();
    let mounts = Mounts::of_this_process().unwrap_or_default();
    checks.extend(judge(&mounts, &Facts::of_this_process(&mounts)));
    checks
}

/// What the verdicts need to know besides the mounts.
struct Facts {
    root: bool,
    /// The caller may make groups in the v2 group that it is in.
    delegated: bool,
    /// Limits on swap can be set; `None` where that cannot be seen.
    swap: Option<bool>,
    /// Windows runs this kernel.
    wsl: bool,
}

impl Facts {
    fn of_this_process(mounts: &Mounts) -> Self {
        let may_write = |tree: &Tree| {
            ["", "cgroup.procs", "cgroup.subtree_control"].iter().all(|file| {
                nix::unistd::access(&tree.own.join(file), nix::unistd::AccessFlags::W_OK).is_ok()
            })
        };
        let memory = mounts.v1.iter().find(|tree| has(tree, "memory"));
        let kernel = std::fs::read_to_string("/proc/version").unwrap_or_default();
        Self {
            root: crate::is_real_root(),
            delegated: mounts.v2.as_ref().is_some_and(may_write),
            swap: match (memory, &mounts.v2) {
                (Some(v1), _) => Some(v1.mountpoint.join("memory.memsw.limit_in_bytes").exists()),
                (None, v2) => v2.as_ref().and_then(swap_v2),
            },
            wsl: kernel.to_lowercase().contains("microsoft"),
        }
    }
}

/// The verdicts.
fn judge(mounts: &Mounts, facts: &Facts) -> Vec<Check> {
    let mut checks = vec![version(mounts, facts)];
    if mounts.hierarchy().is_some() {
        checks.push(controllers(mounts));
        checks.push(permission(mounts, facts));
        checks.extend(facts.swap.map(swap));
    }
    checks
}

fn version(mounts: &Mounts, facts: &Facts) -> Check {
    const NAME: &str = "cgroup version";
    match mounts.hierarchy() {
        Some(Hierarchy::V2) => Check::ok(NAME, "v2"),
        Some(other) if facts.wsl => Check::warn(
            NAME,
            format!("{other}, as WSL2 starts it"),
            "set kernelCommandLine=cgroup_no_v1=all below [wsl2] in .wslconfig",
        ),
        Some(other) => Check::ok(NAME, other.to_string()),
        None => Check::warn(
            NAME,
            "none is mounted, containers run without limits",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
    }
}

/// What a limit needs, by the names of v2.
fn controllers(mounts: &Mounts) -> Check {
    const NAME: &str = "controllers";
    let there = |name: &&str| {
        let v1 = if *name == "io" { "blkio" } else { name };
        mounts.v1.iter().any(|tree| has(tree, v1))
            || mounts.v2.as_ref().is_some_and(|tree| has(tree, name))
    };
    let (there, missing): (Vec<_>, Vec<_>) =
        ["cpu", "cpuset", "io", "memory", "pids"].into_iter().partition(there);
    let found = there.join(" ");
    match missing[..] {
        [] => Check::ok(NAME, found),
        // A Raspberry Pi starts without it.
        _ if missing.contains(&"memory") => Check::warn(
            NAME,
            format!("{found}; not {}", missing.join(" ")),
            "boot with cgroup_enable=memory for limits on memory",
        ),
        _ => Check::warn(
            NAME,
            format!("{found}; not {}", missing.join(" ")),
            "limits that need them are refused; the kernel or the cgroup above lacks them",
        ),
    }
}

fn permission(mounts: &Mounts, facts: &Facts) -> Check {
    const NAME: &str = "setting limits";
    match (facts.root, mounts.hierarchy()) {
        (true, _) => Check::ok(NAME, "you are root"),
        (false, Some(Hierarchy::V2)) if facts.delegated => {
            Check::ok(NAME, "your cgroup is delegated to you")
        }
        (false, Some(Hierarchy::V2)) => Check::warn(
            NAME,
            "your cgroup is not delegated to you, containers run without limits",
            "systemd-run --user --scope -p Delegate=yes COMMAND",
        ),
        (false, _) => Check::warn(
            NAME,
            "cgroup v1 lets only root set limits, containers run without",
            "boot with systemd.unified_cgroup_hierarchy=1 for v2",
        ),
    }
}

fn swap(there: bool) -> Check {
    const NAME: &str = "limits on swap";
    match there {
        true => Check::ok(NAME, "yes"),
        false => {
            Check::warn(NAME, "no", "boot with swapaccount=1; until then -m limits memory only")
        }
    }
}

/// The top of the v2 tree has no limits; any group below it, or our own, shows.
fn swap_v2(tree: &Tree) -> Option<bool> {
    let below = std::fs::read_dir(&tree.mountpoint).into_iter().flatten().flatten();
    let groups = below.map(|entry| entry.path()).chain([tree.own.clone()]);
    let mut limited = groups.filter(|group| group.join("memory.max").exists());
    limited.next().map(|group| group.join("memory.swap.max").exists())
}

fn has(tree: &Tree, controller: &str) -> bool {
    tree.controllers.iter().any(|name| name == controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(v2: bool, controllers: &[&str]) -> Tree {
        let controllers = controllers.iter().map(|name| name.to_string()).collect();
        Tree { v2, controllers, mountpoint: "/sys/fs/cgroup".into(), own: "/sys/fs/cgroup".into() }
    }

    fn v2(controllers: &[&str]) -> Mounts {
        Mounts { v1: Vec::new(), v2: Some(tree(true, controllers)) }
    }

    fn told(mounts: &Mounts, facts: Facts) -> String {
        namespaces::doctor::render(&judge(mounts, &facts))
    }

    #[test]
    fn a_good_machine_has_nothing_to_be_told() {
        let facts = Facts { root: true, delegated: true, swap: Some(true), wsl: false };
        insta::assert_snapshot!(told(&v2(&["cpu", "cpuset", "io", "memory", "pids"]), facts), @"
        ok  cgroup version  v2
        ok  controllers     cpu cpuset io memory pids
        ok  setting limits  you are root
        ok  limits on swap  yes
        ");
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_out() {
        let facts = || Facts { root: false, delegated: false, swap: Some(false), wsl: true };
        insta::assert_snapshot!(told(&v2(&["cpu", "pids"]), facts()), @"
          ok  cgroup version  v2
        warn  controllers     cpu pids; not cpuset io memory
                              -> boot with cgroup_enable=memory for limits on memory
        warn  setting limits  your cgroup is not delegated to you, containers run without limits
                              -> systemd-run --user --scope -p Delegate=yes COMMAND
        warn  limits on swap  no
                              -> boot with swapaccount=1; until then -m limits memory only
        ");
        let hybrid = Mounts { v1: vec![tree(false, &["memory", "blkio"])], ..v2(&[]) };
        insta::assert_snapshot!(told(&hybrid, facts()), @"
        warn  cgroup version  hybrid (controllers in v1, and a v2 tree), as WSL2 starts it
                              -> set kernelCommandLine=cgroup_no_v1=all below [wsl2] in .wslconfig
        warn  controllers     io memory; not cpu cpuset pids
                              -> limits that need them are refused; the kernel or the cgroup above lacks them
        warn  setting limits  cgroup v1 lets only root set limits, containers run without
                              -> boot with systemd.unified_cgroup_hierarchy=1 for v2
        warn  limits on swap  no
                              -> boot with swapaccount=1; until then -m limits memory only
        ");
        insta::assert_snapshot!(told(&Mounts::default(), facts()), @"
        warn  cgroup version  none is mounted, containers run without limits
                              -> mount -t cgroup2 cgroup2 /sys/fs/cgroup
        ");
    }
}
