//! `/etc/passwd` and `/etc/group`, read as text.
//!
//! Not through getpwnam(3): the C library would load its name services into this
//! process, which a static binary cannot, and which must never happen inside a
//! root that a stranger made.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// One line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// One line of group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

/// The accounts of `/etc/passwd`, as this process sees it now; none if there is no such file.
pub(crate) fn accounts() -> Vec<Account> {
    parse_accounts(&read("/etc/passwd"))
}

/// The groups of `/etc/group`.
pub(crate) fn groups() -> Vec<Group> {
    parse_groups(&read("/etc/group"))
}

/// More than that is not read of a file that a stranger made.
const LIMIT: u64 = 16 << 20;

/// An image could have a FIFO there, which would be waited on for ever, or a device
/// without an end: neither is a list of accounts.
fn read(path: &str) -> String {
    let open =
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = open.ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
    let mut bytes = Vec::new();
    let read = file.map(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Some(Ok(_)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

pub(crate) fn parse_accounts(text: &str) -> Vec<Account> {
    let account = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        Some(Account {
            name: fields.first()?.to_string(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).unwrap_or(&"").into(),
        })
    };
    text.lines().filter_map(account).collect()
}

pub(crate) fn parse_groups(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let members = fields.get(3).unwrap_or(&"").split(',').filter(|name| !name.is_empty());
        Some(Group {
            name: fields.first()?.to_string(),
            gid: fields.get(2)?.parse().ok()?,
            members: members.map(str::to_owned).collect(),
        })
    };
    text.lines().filter_map(group).collect()
}
