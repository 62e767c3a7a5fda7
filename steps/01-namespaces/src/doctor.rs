//! What this machine can do, and what it lacks: said before anything fails.
//!
//! First the facts are gathered, then they are judged; every later lesson adds its
//! own checks to the list.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use crate::accounts::accounts;
use crate::id_map::find_tool;
use crate::{Container, Error, IdMaps, Namespaces, Proc, Process, cli, flags, sys, userns};

/// The oldest kernel that has all that the lessons ask for: overlay for ordinary
/// users and close_range(2) with close-on-exec are what came last.
const KERNEL: (u32, u32) = (5, 11);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Something will not work, or not for everybody.
    Warn,
    /// Nothing will work before this is mended.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it, unless all is well.
    pub way_out: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), way_out: None }
    }

    /// Something will not work, or not for everybody.
    pub fn warn(name: &str, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { state: State::Warn, way_out: Some(way_out.into()), ..Self::ok(name, found) }
    }

    /// Nothing will work before this is mended.
    pub fn fail(name: &str, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(name, found, way_out) }
    }
}

/// The checks of this lesson.
pub fn checks() -> Vec<Check> {
    Facts::gather().judge()
}

/// The checks as a table, with the ways out below what they are for.
pub fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, state, found, way_out } in checks {
        let state = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        text += &format!("{state:>5}  {name:<width$}  {found}\n");
        if let Some(way_out) = way_out {
            text += &format!("{:>5}  {:<width$}  -> {way_out}\n", "", "");
        }
    }
    text
}

/// Prints the checks; 1 if one of them failed, for the exit code.
pub fn report(checks: &[Check]) -> u8 {
    match cli::print(&render(checks)) {
        Ok(()) => u8::from(checks.iter().any(|check| check.state == State::Fail)),
        Err(error) => cli::tell_error(&error),
    }
}

/// What was found, before anybody has an opinion on it.
#[derive(Debug, Clone)]
struct Facts {
    root: bool,
    /// The name of this user, or the number.
    user: String,
    /// uname(2): `6.8.0-45-generic`.
    release: String,
    /// System calls that are needed and did not answer, with what they said.
    missing_calls: Vec<(&'static str, Errno)>,
    /// Kinds of namespaces that are not in `/proc/self/ns`.
    missing_kinds: Vec<&'static str>,
    /// The container that we are in ourselves.
    nested: Option<&'static str>,
    /// A seccomp filter lies over this process.
    seccomp: bool,
    /// Switches that forbid user namespaces to ordinary users, and how they are set back.
    forbidding: Vec<(&'static str, &'static str)>,
    /// newuidmap(1) and newgidmap(1) are installed.
    tools: bool,
    /// How many ids a container of this user has.
    ids: u64,
    /// What came of trying it all.
    trial: Result<(), Error>,
}

impl Facts {
    fn gather() -> Self {
        let uts = uname().map(|uts| uts.release().to_string_lossy().into_owned());
        let uid = geteuid().as_raw();
        let account = accounts().into_iter().find(|account| account.uid == uid);
        let seccomp = read("/proc/self/status").contains("\nSeccomp:\t2");
        let missing = flags::ALL.iter().map(|(_, _, file)| *file);
        let ids = IdMaps::standard().uid.ranges().iter().map(|range| u64::from(range.count)).sum();
        Self {
            root: !userns::needed(),
            user: account.map_or(uid.to_string(), |account| account.name),
            release: uts.unwrap_or_default(),
            missing_calls: sys::missing_calls(),
            missing_kinds: missing
                .filter(|kind| !Path::new("/proc/self/ns").join(kind).exists())
                .collect(),
            nested: nested(),
            seccomp,
            forbidding: forbidding(),
            tools: find_tool("newuidmap").is_some() && find_tool("newgidmap").is_some(),
            ids,
            trial: trial(),
        }
    }

    fn judge(&self) -> Vec<Check> {
        let mut checks = vec![self.kernel(), self.calls()];
        checks.extend(self.surroundings());
        checks.push(self.user_namespaces());
        checks.push(self.subordinate_ids());
        checks.push(match &self.trial {
            Ok(()) => Check::ok("a container", "starts, has a /proc of its own, and ends"),
            Err(error) => Check::fail(
                "a container",
                error.to_string(),
                "see above; then try: run --explain true",
            ),
        });
        checks
    }

    fn kernel(&self) -> Check {
        let (release, name) = (&self.release, "kernel");
        let wsl = release.to_lowercase().contains("microsoft");
        match version(release) {
            Some(version) if version < KERNEL && wsl => Check::fail(
                name,
                format!("{release} (WSL)"),
                "WSL 1 is no Linux kernel: wsl --set-version DISTRIBUTION 2",
            ),
            Some(version) if version < KERNEL => {
                let (major, minor) = KERNEL;
                Check::fail(name, release, format!("a kernel from {major}.{minor} on is needed"))
            }
            _ if !self.missing_kinds.is_empty() => {
                let kinds = self.missing_kinds.join(", ");
                Check::warn(
                    name,
                    format!("{release}, without namespaces of kind: {kinds}"),
                    "another kernel has them",
                )
            }
            _ if wsl => Check::ok(name, format!("{release} (WSL 2)")),
            _ => Check::ok(name, release),
        }
    }

    fn calls(&self) -> Check {
        let name = "system calls";
        if self.missing_calls.is_empty() {
            return Check::ok(name, "clone3, pidfd_open, close_range");
        }
        let told = |(call, errno): &(&str, Errno)| format!("{call}: {}", errno.desc());
        let found = self.missing_calls.iter().map(told).collect::<Vec<_>>().join(", ");
        let way_out = match self.seccomp {
            true => {
                "a seccomp filter refuses them; inside Docker: --security-opt seccomp=unconfined"
            }
            false => "a newer kernel has them",
        };
        Check::fail(name, found, way_out)
    }

    fn surroundings(&self) -> Option<Check> {
        let name = "surroundings";
        let filter = if self.seccomp { ", under a seccomp filter" } else { "" };
        match self.nested {
            Some(engine) if self.trial.is_err() => Some(Check::warn(
                name,
                format!("inside a container of {engine}{filter}"),
                "let it make containers: --privileged, or for ordinary users inside it \
                 --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
            )),
            Some(engine) => {
                Some(Check::ok(name, format!("inside a container of {engine}{filter}")))
            }
            None => None,
        }
    }

    fn user_namespaces(&self) -> Check {
        let name = "user namespaces";
        match (self.root, self.forbidding.is_empty(), self.trial.is_ok()) {
            (_, true, _) => Check::ok(name, "no switch forbids them to ordinary users"),
            // An AppArmor profile may allow what the switch forbids.
            (false, false, true) => Check::ok(name, format!("allowed, though {}", self.switches())),
            (true, false, _) => {
                Check::warn(name, format!("only for root: {}", self.switches()), self.switch_back())
            }
            (false, false, false) => Check::fail(name, self.switches(), self.switch_back()),
        }
    }

    fn switches(&self) -> String {
        self.forbidding.iter().map(|(switch, _)| *switch).collect::<Vec<_>>().join(", ")
    }

    fn switch_back(&self) -> String {
        let commands = self.forbidding.iter().map(|(_, command)| *command);
        format!("as root: {}", commands.collect::<Vec<_>>().join("; "))
    }

    fn subordinate_ids(&self) -> Check {
        let name = "ids in a container";
        match (self.root, self.ids, self.tools) {
            (true, ..) => Check::ok(name, "all, as root"),
            (false, 2.., _) => {
                Check::ok(name, format!("{} from /etc/subuid and /etc/subgid", self.ids))
            }
            (false, _, false) => Check::warn(
                name,
                "1: root inside, and nobody else; newuidmap and newgidmap are not installed",
                "as root: install the package uidmap (Debian, Ubuntu) or shadow-utils",
            ),
            (false, _, true) => Check::warn(
                name,
                "1: root inside, and nobody else; /etc/subuid or /etc/subgid grants this user nothing",
                format!(
                    "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
                    self.user
                ),
            ),
        }
    }
}

/// `6.8.0-45-generic` is (6, 8).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The engine whose container this process is in, by the marks that engines leave.
fn nested() -> Option<&'static str> {
    let exists = |path| Path::new(path).exists();
    let told = fs::read("/proc/1/environ").unwrap_or_default();
    let told =
        told.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"container="));
    match told {
        _ if exists("/.dockerenv") => Some("Docker"),
        _ if exists("/run/.containerenv") => Some("Podman"),
        Some(b"lxc") => Some("LXC"),
        Some(b"systemd-nspawn") => Some("systemd-nspawn"),
        Some(_) => Some("some engine"),
        None => None,
    }
}

/// The switches of kernels and distributions, where they are set against us.
fn forbidding() -> Vec<(&'static str, &'static str)> {
    let is = |path: &str, value: &str| read(path).trim() == value;
    let mut found = Vec::new();
    if is("/proc/sys/user/max_user_namespaces", "0") {
        found.push(("user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"));
    }
    // A patch of Debian's and others' kernels.
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        found.push((
            "kernel.unprivileged_userns_clone is 0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ));
    }
    // Ubuntu from 23.10 on: such a namespace can be made, but gives no rights.
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        found.push((
            "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for this binary",
        ));
    }
    found
}

/// The best question to a kernel is to do it.
fn trial() -> Result<(), Error> {
    let mut namespaces = Namespaces::container();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let container = Container::new(Process::new(["true"])).with(namespaces).with(Proc);
    container.start()?.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            root: false,
            user: "ann".into(),
            release: "6.8.0-45-generic".into(),
            missing_calls: vec![],
            missing_kinds: vec![],
            nested: None,
            seccomp: false,
            forbidding: vec![],
            tools: true,
            ids: 65_537,
            trial: Ok(()),
        }
    }

    #[test]
    fn a_good_machine_gets_a_clean_bill() {
        insta::assert_snapshot!(render(&good().judge()), @r"
        ok  kernel              6.8.0-45-generic
        ok  system calls        clone3, pidfd_open, close_range
        ok  user namespaces     no switch forbids them to ordinary users
        ok  ids in a container  65537 from /etc/subuid and /etc/subgid
        ok  a container         starts, has a /proc of its own, and ends
        ");
    }

    #[test]
    fn ubuntu_24_04_is_told_of_its_apparmor_switch() {
        let mut facts = good();
        facts.trial = Err(Error::os("set the supplementary groups []", Errno::EPERM));
        facts.forbidding = vec![("AppArmor restricts them", "sysctl -w it=0")];
        insta::assert_snapshot!(render(&facts.judge()), @r"
          ok  kernel              6.8.0-45-generic
          ok  system calls        clone3, pidfd_open, close_range
        FAIL  user namespaces     AppArmor restricts them
                                  -> as root: sysctl -w it=0
          ok  ids in a container  65537 from /etc/subuid and /etc/subgid
        FAIL  a container         set the supplementary groups []: Operation not permitted
                                  -> see above; then try: run --explain true
        ");
    }

    #[test]
    fn a_docker_container_with_its_seccomp_filter_is_told_which_options_help() {
        let mut facts = good();
        facts.root = true;
        facts.nested = Some("Docker");
        facts.seccomp = true;
        facts.missing_calls = vec![("clone3", Errno::ENOSYS)];
        facts.trial = Err(Error::os("clone3(CLONE_NEWPID)", Errno::ENOSYS));
        insta::assert_snapshot!(render(&facts.judge()), @r"
          ok  kernel              6.8.0-45-generic
        FAIL  system calls        clone3: Function not implemented
                                  -> a seccomp filter refuses them; inside Docker: --security-opt seccomp=unconfined
        warn  surroundings        inside a container of Docker, under a seccomp filter
                                  -> let it make containers: --privileged, or for ordinary users inside it --security-opt seccomp=unconfined --security-opt systempaths=unconfined
          ok  user namespaces     no switch forbids them to ordinary users
          ok  ids in a container  all, as root
        FAIL  a container         clone3(CLONE_NEWPID): Function not implemented
                                  -> see above; then try: run --explain true
        ");
    }

    #[test]
    fn an_old_kernel_and_a_user_without_ids_are_told_what_to_get() {
        let mut facts = good();
        facts.release = "4.4.0-19041-Microsoft".into();
        facts.ids = 1;
        insta::assert_snapshot!(render(&facts.judge()), @r"
        FAIL  kernel              4.4.0-19041-Microsoft (WSL)
                                  -> WSL 1 is no Linux kernel: wsl --set-version DISTRIBUTION 2
          ok  system calls        clone3, pidfd_open, close_range
          ok  user namespaces     no switch forbids them to ordinary users
        warn  ids in a container  1: root inside, and nobody else; /etc/subuid or /etc/subgid grants this user nothing
                                  -> as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann
          ok  a container         starts, has a /proc of its own, and ends
        ");
        facts.release = "5.4.0-1-generic".into();
        facts.tools = false;
        insta::assert_snapshot!(render(&facts.judge()), @r"
        FAIL  kernel              5.4.0-1-generic
                                  -> a kernel from 5.11 on is needed
          ok  system calls        clone3, pidfd_open, close_range
          ok  user namespaces     no switch forbids them to ordinary users
        warn  ids in a container  1: root inside, and nobody else; newuidmap and newgidmap are not installed
                                  -> as root: install the package uidmap (Debian, Ubuntu) or shadow-utils
          ok  a container         starts, has a /proc of its own, and ends
        ");
    }
}
