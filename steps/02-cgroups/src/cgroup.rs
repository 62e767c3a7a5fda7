//! The mechanism: a container in a control group of its own.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;

use namespaces::explain::step;
use namespaces::{CloneArgs, Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

use crate::devices::{DevicePolicy, DeviceRule};
use crate::group::Group;
use crate::hierarchy::Mounts;
use crate::limits::{Limits, Machine};
use crate::stats::OutOfMemory;
use crate::{CHAPTER, bpf, sys, v1};

/// Puts the container into a control group: a new one with limits, or an existing one.
///
// ANCHOR: moments
/// ```text
/// before_clone   mkdir; write the limits; open the ways in
/// clone3         v2: the child is born inside (CLONE_INTO_CGROUP)
/// in_child       v1: the child writes "0", itself, into each tree's `tasks`
/// teardown       kill what is left; rmdir
/// ```
// ANCHOR_END: moments
///
/// No moment of the container's life is outside: what the parent moves after the
/// clone could have forked, or used memory, before.
pub struct Cgroup {
    kind: Kind,
    /// Where the child enters the v1 trees, opened with the parent's rights.
    tasks: Vec<File>,
    /// The cgroup namespace that was asked for: made once the child is inside.
    namespace: bool,
    out_of_memory: Rc<Cell<Option<OutOfMemory>>>,
}

enum Kind {
    New { name: String, limits: Box<Limits>, devices: DevicePolicy, state: State },
    Existing(Group),
}

/// What there is of a new group.
enum State {
    /// As far as this process knows, nothing. Should it be the sentinel, and its parent
    /// have been killed while it made the group, there may be something.
    Unknown,
    /// A group that is ours.
    Made { group: Group, _claim: Option<File> },
    /// Nothing any more, or nothing at all.
    Gone,
}

impl Cgroup {
    /// A new group `name`, `coracle/4711`: below the top of the trees for root, below
    /// the caller's own group for an ordinary user.
    ///
    /// An ordinary user whose own group is not delegated gets no group, which is no
    /// error as long as there are no limits.
    pub fn new(name: &str, limits: Limits, devices: DevicePolicy) -> Self {
        let limits = Box::new(limits);
        Self::of(Kind::New { name: name.into(), limits, devices, state: State::Unknown })
    }

    /// An existing group by its name: for one more process in a container.
    pub fn existing(name: &str) -> Result<Self> {
        Group::open(name).map(Self::enter)
    }

    /// The groups that a process is in, but for those that the caller is in too.
    pub fn beside(pid: Pid) -> Result<Self> {
        let ours = Group::of_process(Pid::this())?;
        Ok(Self::enter(Group::of_process(pid)?.without(&ours)))
    }

    /// An existing group.
    pub fn enter(group: Group) -> Self {
        Self::of(Kind::Existing(group))
    }

    /// Opens an existing group, to look at it and to change it.
    pub fn open(name: &str) -> Result<Group> {
        Group::open(name)
    }

    /// Where it will be found, after the teardown of a new group, that the container
    /// ran out of memory. A program that was killed cannot tell why, its group can.
    pub fn out_of_memory(&self) -> Rc<Cell<Option<OutOfMemory>>> {
        self.out_of_memory.clone()
    }

    fn of(kind: Kind) -> Self {
        Self { kind, tasks: Vec::new(), namespace: false, out_of_memory: Rc::default() }
    }

    // ANCHOR: ways_in
    /// Opens every way in.
    fn open_ways_in(&mut self, group: &Group, args: &mut CloneArgs) -> Result<()> {
        for folder in &group.v1 {
            self.tasks.push(v1::open_tasks(&folder.path)?);
        }
        if let Some(path) = group.in_v2() {
            let folder = File::open(path).doing(|| format!("open {}", path.display()))?;
            args.cgroup = Some(folder.into());
        }
        // A cgroup namespace shows its maker's group as the root of the tree. Made by
        // the clone, that would be the parent's; so it is made later, by the child.
        let flag = libc::CLONE_NEWCGROUP as u64;
        self.namespace = args.flags & flag != 0;
        args.flags &= !flag;
        Ok(())
    }
    // ANCHOR_END: ways_in
}

impl Mechanism for Cgroup {
    // ANCHOR: before_clone
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        let group = match &mut self.kind {
            Kind::Existing(group) => group.clone(),
            Kind::New { name, limits, devices, state } => {
                if !limits.is_empty() {
                    limits.check(&Machine::this())?;
                }
                let Some((group, claim)) = create(name, limits)? else { return Ok(()) };
                *state = State::Made { group: group.clone(), _claim: claim };
                group.apply(limits)?;
                if let Some(rules) = devices.rules() {
                    allow_devices(&group, &rules)?;
                }
                group
            }
        };
        self.open_ways_in(&group, args)
    }
    // ANCHOR_END: before_clone

    // ANCHOR: in_child
    fn in_child(&self) -> Result<()> {
        if !self.tasks.is_empty() {
            let call = || format!("write 0 to {} files tasks", self.tasks.len());
            step(CHAPTER, call, || {
                self.tasks.iter().try_for_each(v1::enter).map_err(refused_entry)
            })?;
        }
        if self.namespace {
            step(
                CHAPTER,
                || "unshare(CLONE_NEWCGROUP)".into(),
                || unshare(CloneFlags::CLONE_NEWCGROUP).doing(|| "unshare the cgroup namespace"),
            )?;
        }
        Ok(())
    }
    // ANCHOR_END: in_child

    // ANCHOR: teardown
    fn teardown(&mut self) -> Result<()> {
        self.tasks.clear();
        let Kind::New { name, limits, state, .. } = &mut self.kind else { return Ok(()) };
        match state {
            State::Unknown => remove_if_abandoned(name, limits)?,
            State::Made { group, .. } => {
                // Asked again, a group that is half gone would know nothing any more.
                self.out_of_memory.set(self.out_of_memory.get().or_else(|| group.out_of_memory()));
                let call = || format!("rmdir {name} in {} cgroup trees", group.folders().count());
                step(CHAPTER, call, || group.remove())?;
            }
            State::Gone => {}
        }
        *state = State::Gone;
        Ok(())
    }
    // ANCHOR_END: teardown
}

fn refused_entry(errno: Errno) -> Error {
    let error = Error::os("enter the cgroup", errno);
    match errno {
        Errno::ENOSPC => error.hint("its cpuset has no processor or no memory"),
        Errno::EAGAIN => error.hint("its limit of processes is reached"),
        _ => error,
    }
}

/// Removes what a parent that was killed has made of the group.
fn remove_if_abandoned(name: &str, limits: &Limits) -> Result<()> {
    let mounts = Mounts::of_this_process()?;
    Group::named(&mounts, name)?.without_idle_cpuset(limits).remove_if_abandoned()
}

/// The group and the claim to it, or `None` where the caller may not have one and
/// needs none.
fn create(name: &str, limits: &Limits) -> Result<Option<(Group, Option<File>)>> {
    let mounts = Mounts::of_this_process()?;
    let group = Group::named(&mounts, name)?.without_idle_cpuset(limits);
    if group.is_nowhere() {
        return without(
            limits,
            Error::new("no cgroups are mounted").hint("mount them, or run without limits"),
        );
    }
    let call = || format!("mkdir {name} in {} cgroup trees", group.folders().count());
    let made = step(CHAPTER, call, || group.create(!limits.is_empty()));
    match made {
        Ok(claim) => Ok(Some((group, claim))),
        Err(error)
            if [Errno::EACCES, Errno::EPERM, Errno::EROFS].iter().any(|no| error.is(*no)) =>
        {
            without(limits, not_delegated(error, !mounts.v1.is_empty()))
        }
        Err(error) => Err(error),
    }
}

/// Without limits the container can do without a group.
fn without<T>(limits: &Limits, error: Error) -> Result<Option<T>> {
    if limits.is_empty() { Ok(None) } else { Err(error) }
}

// ANCHOR: not_delegated
fn not_delegated(error: Error, v1: bool) -> Error {
    let error = Error { doing: format!("limit the container: {}", error.doing), ..error };
    match (crate::is_real_root(), v1) {
        (true, _) => {
            error.hint("cgroups are mounted read-only here, as in an unprivileged container")
        }
        (false, true) => {
            error.hint("cgroup v1 lets only root set limits; run as root, or boot with cgroup v2")
        }
        (false, false) => error.hint(
            "this session's cgroup is not delegated to you; start it as \
             `systemd-run --user --scope -p Delegate=yes COMMAND`",
        ),
    }
}
// ANCHOR_END: not_delegated

/// Tells the kernel which devices may be used, in the way of the version.
fn allow_devices(group: &Group, rules: &[DeviceRule]) -> Result<()> {
    if let Some(path) = group.in_v1("devices") {
        return v1::allow_devices(path, rules);
    }
    // In a hybrid without the v1 controller, the v2 tree asks all the same.
    let Some(path) = group.in_v2() else { return Ok(()) };
    let program = bpf::program(rules);
    let folder = File::open(path).doing(|| format!("open {}", path.display()))?;
    let call = || format!("bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)  {} rules", rules.len());
    let attached = step(CHAPTER, call, || {
        use std::os::fd::AsFd;
        sys::load_device_program(&program)
            .and_then(|program| sys::attach_device_program(folder.as_fd(), program.as_fd()))
            .doing(|| "attach the device program")
    });
    match attached {
        // An ordinary user may not, and cannot make device nodes either: the kernel
        // lets them use what is theirs on the host, and no more.
        Err(error) if error.is(Errno::EPERM) && !crate::is_real_root() => Ok(()),
        result => result,
    }
}
