//! Tell how much memory a process may use.
//!
//! `free` shows the machine. A program that wants to know its share must ask its group:
//! but a limit holds for a group *with all that is below it*, so the groups above have a
//! say, too. Find the smallest limit from the process's group up to the top of the tree.
//! This program makes such a tree out of ordinary folders, so that it runs everywhere;
//! the files are those of version 2.
//!
//! Minutes: 20

use std::fs;
use std::path::{Path, PathBuf};

/// The group that a process is in, from its `/proc/PID/cgroup`: `/user/app`.
fn own_group(proc_cgroup: &str) -> Option<&str> {
    todo!("find version 2's line, and what is behind its second colon")
}

/// The smallest `memory.max` of `group` and the groups above it; `None` if none has a limit.
/// `top` is where the tree is mounted.
fn share(top: &Path, group: &str) -> Option<u64> {
    todo!("walk from the group up to the top, and keep the smallest number")
}

/// A tree as it would be in /sys/fs/cgroup: groups, and what their `memory.max` says.
const TREE: [(&str, &str); 4] = [
    ("pod", "134217728\n"),
    ("pod/web", "max\n"),
    ("pod/web/worker", "268435456\n"),
    ("system/cron", "max\n"),
];

/// What `/proc/PID/cgroup` says of four processes. The second machine has both versions.
const PROCESSES: [(&str, &str); 4] = [
    ("worker", "0::/pod/web/worker\n"),
    ("web", "4:memory:/somewhere\n1:name=systemd:/\n0::/pod/web\n"),
    ("cron", "0::/system/cron\n"),
    ("init", "0::/\n"),
];

fn main() {
    let top = PathBuf::from("tree");
    for (group, limit) in TREE {
        fs::create_dir_all(top.join(group)).expect("make a folder");
        fs::write(top.join(group).join("memory.max"), limit).expect("write a file");
    }
    for (name, proc_cgroup) in PROCESSES {
        let group = own_group(proc_cgroup).expect("a line of version 2");
        match share(&top, group) {
            Some(bytes) => println!("{name} in {group}: {} MiB", bytes >> 20),
            None => println!("{name} in {group}: all that there is"),
        }
    }
    fs::remove_dir_all(&top).expect("remove the tree");
}
