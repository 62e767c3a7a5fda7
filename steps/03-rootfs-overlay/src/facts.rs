//! What the plan must know and cannot decide.

use std::fs;

use crate::cgroupfs::View;

/// What the plan must know about the process that will carry it out.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// It is root in a user namespace only: it can mount, but not make devices.
    pub user_namespace: bool,
    /// It shares its processes with whoever mounted the /proc that it sees.
    pub shares_pids: bool,
    /// The group tty (5) exists there.
    pub tty_group: bool,
    /// What /sys/fs/cgroup of the container is to show.
    pub cgroups: View,
}

impl Facts {
    /// Looks at the calling process.
    pub fn detect() -> Facts {
        let map = |of| fs::read_to_string(format!("/proc/self/{of}_map")).unwrap_or_default();
        Facts {
            user_namespace: !maps_everything(&map("uid")),
            shares_pids: shares_pids(),
            tty_group: maps_id(&map("gid"), 5),
            cgroups: View::detect(),
        }
    }
}

/// /proc shows the pids that a process has from the namespace that it was mounted in down
/// to the process's own: only one, if that is the same.
fn shares_pids() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.is_some_and(|pids| pids.split_whitespace().count() == 1)
}

/// The first user namespace maps all ids to themselves: user_namespaces(7).
fn maps_everything(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn maps_id(map: &str, id: u64) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(Ok(inside)), Some(_), Some(Ok(count))) => (inside..inside + count).contains(&id),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_read_as_the_kernel_writes_them() {
        assert!(maps_everything("         0          0 4294967295\n"));
        assert!(!maps_everything("         0       1000          1\n"));
        assert!(maps_id("0 1001 1\n1 100000 65536\n", 5));
        assert!(!maps_id("0 1001 1\n", 5));
    }
}
