//! Who the program runs as: setgroups(2), setresgid(2), setresuid(2).

use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::{fmt, fs};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{self, Gid, Uid};

use crate::accounts::{Account, Group, accounts, groups};
use crate::error::{Context, Error, Result};
use crate::explain::step;
use crate::mechanism::Mechanism;

const CHAPTER: u8 = 1;

/// The filesystem that pipe(2) makes its pipes in, as statfs(2) lists it.
const PIPEFS_MAGIC: libc::c_long = 0x5049_5045;

/// The user that the program runs as. The last mechanism of a container: whoever
/// has become somebody cannot mount or map any more.
///
/// A name is looked up where it means something: in the container's own
/// `/etc/passwd` and `/etc/group`, by the child, when its root is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    user: String,
    group: Option<String>,
    groups: Vec<String>,
}

/// What a [`User`] is in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// As it is written: `name|uid[:group|gid]`.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

impl User {
    /// A user in numbers, with these supplementary groups and no others.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Self {
        let groups = groups.iter().map(u32::to_string).collect();
        Self { user: uid.to_string(), group: Some(gid.to_string()), groups }
    }

    /// Root of the container.
    pub fn root() -> Self {
        Self { user: "0".into(), group: None, groups: Vec::new() }
    }

    /// One more supplementary group, by name or number: `--group-add`.
    pub fn and_group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Docker's rules: a name must be known; a number need not be, and then its
    /// group is 0. Supplementary groups are the account's own, unless a group is given,
    /// and the primary one is always among them: a set-group-ID program takes on another,
    /// and who is kept out by a group must not lose it by that (CVE-2022-36109).
    fn resolve(&self, accounts: &[Account], groups: &[Group]) -> Result<Ids> {
        let number = self.user.parse().ok();
        let named = accounts.iter().find(|account| account.name == self.user);
        let account = named.or_else(|| accounts.iter().find(|account| Some(account.uid) == number));
        let uid = account.map(|account| account.uid).or(number).ok_or_else(|| {
            Error::new(format!(
                "find the user {}: the container's /etc/passwd has no such name",
                self.user
            ))
        })?;
        let mut ids =
            Ids { uid, gid: account.map_or(0, |account| account.gid), groups: Vec::new() };
        match (&self.group, account) {
            (Some(group), _) => ids.gid = gid_of(group, groups)?,
            (None, Some(account)) => {
                let member = |group: &&Group| group.members.contains(&account.name);
                ids.groups = groups.iter().filter(member).map(|group| group.gid).collect();
            }
            (None, None) => {}
        }
        for group in &self.groups {
            ids.groups.push(gid_of(group, groups)?);
        }
        if !ids.groups.contains(&ids.gid) {
            ids.groups.insert(0, ids.gid);
        }
        Ok(ids)
    }
}

fn gid_of(group: &str, groups: &[Group]) -> Result<u32> {
    let found = groups.iter().find(|known| known.name == group).map(|known| known.gid);
    found.or_else(|| group.parse().ok()).ok_or_else(|| {
        Error::new(format!("find the group {group}: the container's /etc/group has no such name"))
    })
}

/// `name|uid[:group|gid]`, as `docker run --user` has it. Empty means root.
impl FromStr for User {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        // The kernel keeps the highest id to say "no change".
        let bad =
            |id: &str| id.starts_with('-') || id.parse::<u64>().is_ok_and(|n| n >= u32::MAX.into());
        if let Some(id) = [Some(user), group].into_iter().flatten().find(|id| bad(id)) {
            return Err(Error::new(format!(
                "{id} is no user or group: ids go from 0 to 4294967294"
            )));
        }
        Ok(Self { user: user.into(), group: group.map(str::to_owned), groups: Vec::new() })
    }
}

impl Mechanism for User {
    fn in_child(&self) -> Result<()> {
        self.resolve(&accounts(), &groups())?.assume()
    }
}

impl Ids {
    // ANCHOR: assume
    /// Groups first: without root they could not be changed any more.
    fn assume(&self) -> Result<()> {
        let Self { uid, gid, groups } = self;
        self.take_over_stdio();
        step(CHAPTER, || format!("setgroups({groups:?})"), || set_groups(groups))?;
        let gid = Gid::from_raw(*gid);
        step(
            CHAPTER,
            || format!("setresgid({gid})"),
            || unistd::setresgid(gid, gid, gid).doing(|| format!("become group {gid}")),
        )
        .map_err(not_mapped)?;
        let uid = Uid::from_raw(*uid);
        step(
            CHAPTER,
            || format!("setresuid({uid})"),
            || unistd::setresuid(uid, uid, uid).doing(|| format!("become user {uid}")),
        )
        .map_err(not_mapped)
    }
    // ANCHOR_END: assume

    /// Programs open `/dev/stdout` again (to log there) or their terminal. What was
    /// made for this container, its terminal and its pipes, must let them.
    fn take_over_stdio(&self) {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            if is_our_terminal(fd) {
                // The group stays: it is "tty", and may write but not read.
                let _ = unistd::fchown(fd, Some(Uid::from_raw(self.uid)), None);
            } else if is_anonymous_pipe(fd) {
                let _ = unistd::fchown(
                    fd,
                    Some(Uid::from_raw(self.uid)),
                    Some(Gid::from_raw(self.gid)),
                );
            }
        }
    }
}

/// The child has a session of its own: if that has a terminal, it was made for it.
fn is_our_terminal(fd: BorrowedFd) -> bool {
    nix::sys::termios::tcgetsid(fd).is_ok_and(|session| Ok(session) == unistd::getsid(None))
}

/// A pipe(2), not a FIFO with a name, which belongs to whoever made it.
fn is_anonymous_pipe(fd: BorrowedFd) -> bool {
    let pipefs = nix::sys::statfs::FsType(PIPEFS_MAGIC);
    let is_pipe = |mode: u32| mode & libc::S_IFMT == libc::S_IFIFO;
    nix::sys::statfs::fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() == pipefs)
        && fstat(fd).is_ok_and(|stat| is_pipe(stat.st_mode))
}

/// setgroups(2), unless it is off in this user namespace: then the groups outside
/// stay, as the kernel wants it.
pub(crate) fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    match unistd::setgroups(&groups) {
        Err(Errno::EPERM) if are_groups_denied() => Ok(()),
        result => {
            result.doing(|| format!("set the supplementary groups {groups:?}")).map_err(not_mapped)
        }
    }
}

fn are_groups_denied() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn not_mapped(error: Error) -> Error {
    if !error.is(Errno::EINVAL) {
        return error;
    }
    error.hint(
        "this id is not mapped into the container's user namespace; \
         more ids take a range in /etc/subuid and /etc/subgid, and newuidmap",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::{parse_accounts, parse_groups};

    fn resolve(spec: &str) -> Result<(u32, u32, Vec<u32>), String> {
        let accounts = parse_accounts(
            "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n77:x:78:78::/:/bin/sh\n",
        );
        let groups = parse_groups("root:x:0:\nwww:x:33:\nlogs:x:4:root,www\n");
        let user: User = spec.parse().map_err(|error: Error| error.to_string())?;
        let ids = user.resolve(&accounts, &groups).map_err(|error| error.to_string())?;
        Ok((ids.uid, ids.gid, ids.groups))
    }

    #[test]
    fn a_user_is_found_as_docker_finds_it() {
        assert_eq!(resolve(""), Ok((0, 0, vec![0, 4])));
        assert_eq!(resolve("www"), Ok((33, 33, vec![33, 4])));
        assert_eq!(resolve("33"), Ok((33, 33, vec![33, 4])));
        assert_eq!(resolve("www:"), Ok((33, 33, vec![33, 4])));
        assert_eq!(resolve("www:logs"), Ok((33, 4, vec![4])));
        assert_eq!(resolve("1000"), Ok((1000, 0, vec![0])));
        assert_eq!(resolve("1000:1001"), Ok((1000, 1001, vec![1001])));
        assert_eq!(resolve(":33"), Ok((0, 33, vec![33])));
        // A name may look like a number, and then the name counts.
        assert_eq!(resolve("77"), Ok((78, 78, vec![78])));
    }

    #[test]
    fn an_unknown_name_is_one_clear_sentence() {
        assert_eq!(
            resolve("eve").unwrap_err(),
            "find the user eve: the container's /etc/passwd has no such name"
        );
        assert_eq!(
            resolve("www:crew").unwrap_err(),
            "find the group crew: the container's /etc/group has no such name"
        );
        assert_eq!(
            resolve("4294967295").unwrap_err(),
            "4294967295 is no user or group: ids go from 0 to 4294967294"
        );
    }
}
