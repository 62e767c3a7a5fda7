//! A program, the mechanisms around it, and the way from one to the other.

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{self, Pid};

use crate::channel::{self, ChildEnd, Message, ParentEnd};
use crate::error::{Context, Error, Result};
use crate::explain::{self, step};
use crate::mechanism::{Child, CloneArgs, Mechanism};
use crate::process::Process;
use crate::running::{Exit, Running, teardown};
use crate::sentinel::Sentinel;
use crate::sys::{self, Cloned};
use crate::{flags, init};

/// The chapter that explains what this file asks of the kernel.
const CHAPTER: u8 = 1;

/// A container that does not run yet: a process and the mechanisms around it.
///
/// The order of the mechanisms is the meaning: a root can only be mounted by a
/// process that has a mount namespace.
pub struct Container {
    process: Process,
    mechanisms: Vec<Box<dyn Mechanism>>,
    guarded: bool,
}

impl Container {
    /// A container without any isolation.
    pub fn new(process: Process) -> Self {
        Self { process, mechanisms: Vec::new(), guarded: false }
    }

    /// Adds one mechanism after those that are there.
    pub fn with(mut self, mechanism: impl Mechanism + 'static) -> Self {
        self.mechanisms.push(Box::new(mechanism));
        self
    }

    /// Adds a mechanism if there is one.
    pub fn with_some(self, mechanism: Option<impl Mechanism + 'static>) -> Self {
        match mechanism {
            Some(mechanism) => self.with(mechanism),
            None => self,
        }
    }

    /// Leaves nothing behind even when this process is killed with SIGKILL: a
    /// small process, the sentinel, waits for that and then tears down.
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Goes to the brink of exec: everything is made, the program does not run yet.
    /// This is the OCI runtime's `create`.
    ///
    /// # Errors
    /// What any mechanism could not do, on either side; nothing is left then.
    /// Refused in a process with more than one thread.
    // ANCHOR: create
    pub fn create(self) -> Result<Created> {
        let mut created = self.begin()?;
        created.reach_the_brink()?;
        Ok(created)
    }

    /// The same, without waiting for it: the child sets itself up meanwhile.
    pub fn begin(self) -> Result<Created> {
        refuse_threads()?;
        sys::expect_children();
        let Self { mut process, mut mechanisms, guarded } = self;
        process.die_with_parent |= guarded;
        let mut args = CloneArgs::default();
        let made = before_clone(&mut mechanisms, &mut args, guarded);
        let born = made.and_then(|sentinel| {
            let (child, channel) = clone(process, &mechanisms, &args)?;
            Ok((sentinel, child, channel))
        });
        match born {
            Err(error) => {
                let _ = teardown(&mut mechanisms);
                Err(error)
            }
            Ok((sentinel, child, channel)) => {
                if let Some(sentinel) = &sentinel {
                    sentinel.guard(child.pidfd());
                }
                let running = Running { child, mechanisms, sentinel, exit: None };
                Created { running, channel, is_ready: false, is_let_go: false }.bring_up()
            }
        }
    }
    // ANCHOR_END: create

    /// `create` and `start` in one.
    pub fn start(self) -> Result<Running> {
        self.begin()?.start()
    }
}

// ANCHOR: refuse_threads
/// clone(2) in a process with threads copies their locks as they are, held or not.
/// Measured: of 500 children that only logged a line, 444 hung.
pub(crate) fn refuse_threads() -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").doing(|| "read /proc/self/task")?.count();
    match threads {
        1 => Ok(()),
        n => Err(Error::new(format!(
            "this process has {n} threads, and a container must be cloned from one that has a single one"
        ))),
    }
}
// ANCHOR_END: refuse_threads

/// First moment. The sentinel is born between it and the clone, so that it knows
/// all that must be given back and holds nothing that the child holds. Until then
/// another one watches, which knows the mechanisms as they were made.
fn before_clone(
    mechanisms: &mut [Box<dyn Mechanism>],
    args: &mut CloneArgs,
    guarded: bool,
) -> Result<Option<Sentinel>> {
    let watch = |mechanisms: &mut [_]| guarded.then(|| Sentinel::watch(mechanisms)).transpose();
    let early = watch(mechanisms)?;
    for mechanism in mechanisms.iter_mut() {
        mechanism.before_clone(args)?;
    }
    let sentinel = watch(mechanisms)?;
    // Not before: at no moment is nobody there.
    if let Some(early) = early {
        early.dismiss();
    }
    Ok(sentinel)
}

/// clone3(2), once for new namespaces, twice for existing ones.
fn clone(
    process: Process,
    mechanisms: &[Box<dyn Mechanism>],
    args: &CloneArgs,
) -> Result<(Child, ParentEnd)> {
    let (mut parent_end, child_end) = channel::pair()?;
    let cgroup = args.cgroup.as_ref().map(|fd| fd.as_fd());
    // Into namespaces that exist first: they own those that are made after.
    let flags = if args.join.is_empty() { args.flags } else { 0 };
    let call = || {
        format!(
            "clone3({}{})",
            flags::names(flags),
            if cgroup.is_some() { "|CLONE_INTO_CGROUP" } else { "" }
        )
    };
    // ANCHOR: clone
    let cloned = step(CHAPTER, call, || {
        sys::clone3(flags, cgroup, false).map_err(|errno| refused(flags, errno))
    });
    // ANCHOR_END: clone
    // ANCHOR: two_sides
    match cloned? {
        Cloned::Child => {
            drop(parent_end);
            in_new_process(process, mechanisms, args, child_end)
        }
        Cloned::Parent(pid, pidfd) => {
            drop(child_end);
            let child = match args.join.is_empty() || args.once {
                true => Child { pid, pidfd },
                false => second_born(pid, &mut parent_end)?,
            };
            Ok((child, parent_end))
        }
    }
    // ANCHOR_END: two_sides
}

fn refused(flags: u64, errno: Errno) -> Error {
    let error = Error::os(format!("clone3({})", flags::names(flags)), errno);
    flags::explain_refusal(error, flags)
}

/// Waits for the news of the second birth, and reaps the first-born.
fn second_born(first: Pid, channel: &mut ParentEnd) -> Result<Child> {
    let heard = channel.hear();
    let _ = waitpid(first, None);
    match heard? {
        Some(Message::Joined(pid)) => {
            let pid = Pid::from_raw(pid);
            let pidfd = sys::pidfd_open(pid).doing(|| format!("pidfd_open({pid})"))?;
            Ok(Child { pid, pidfd })
        }
        Some(Message::Error(error)) => Err(error),
        _ => Err(Error::new("join the namespaces: the process that did it was killed")),
    }
}

/// The new process, up to exec. It never comes back from here.
fn in_new_process(
    process: Process,
    mechanisms: &[Box<dyn Mechanism>],
    args: &CloneArgs,
    channel: ChildEnd,
) -> ! {
    let result = without_unwinding("set up the container", || {
        record_to(&channel)?;
        match args.once {
            true => join_all(args)?,
            false if !args.join.is_empty() => be_born_again(args, &channel)?,
            false => {}
        }
        child_main(process, mechanisms, &channel)
    });
    let error = match result {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let code = error.exit_code;
    channel.say(&Message::Error(error));
    sys::exit_now(code.into())
}

/// A panic in a new process must end there. It would unwind into what the process has
/// only inherited, and drop the parent's files and containers a second time.
pub(crate) fn without_unwinding<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    // The panic's own message is on standard error by then.
    let result = catch_unwind(AssertUnwindSafe(act));
    result.unwrap_or_else(|_| Err(Error::new(format!("{what}: the new process panicked"))))
}

/// Sends this process's steps to the parent, if someone listens there.
pub(crate) fn record_to(channel: &ChildEnd) -> Result<()> {
    if explain::listening() {
        let channel = channel.again();
        explain::listen_in_child(move |step| channel.say(&Message::Step(step.clone())));
    }
    Ok(())
}

// ANCHOR: be_born_again
/// setns(2) for the pid namespace only counts for children to come, and once in a
/// foreign user namespace there is no way back. So the process that joins is not
/// the one that stays: it clones a sibling and goes.
fn be_born_again(args: &CloneArgs, channel: &ChildEnd) -> Result<()> {
    join_all(args)?;
    // Told before, once: after it there are two to tell.
    if args.flags != 0 {
        let call = || format!("clone3(CLONE_PARENT|{})", flags::names(args.flags));
        step(CHAPTER, call, || Ok(()))?;
    }
    channel.flush();
    match sys::clone3(args.flags, None, true).map_err(|errno| refused(args.flags, errno))? {
        Cloned::Child => Ok(()),
        Cloned::Parent(pid, _) => {
            channel.say(&Message::Joined(pid.as_raw()));
            sys::exit_now(0)
        }
    }
}

/// setns(2): into all the namespaces of others.
fn join_all(args: &CloneArgs) -> Result<()> {
    // From here on the container's processes could look at this one through /proc,
    // and it still is our binary with our memory (CVE-2019-5736).
    nix::sys::prctl::set_dumpable(false).doing(|| "prctl(PR_SET_DUMPABLE, 0)")?;
    args.join.iter().try_for_each(|(of, namespaces)| join(of.as_fd(), *namespaces))
}
// ANCHOR_END: be_born_again

fn join(of: BorrowedFd, namespaces: u64) -> Result<()> {
    let names = flags::names(namespaces);
    let flags = nix::sched::CloneFlags::from_bits_truncate(namespaces as i32);
    step(
        CHAPTER,
        || format!("setns(pidfd, {names})"),
        || nix::sched::setns(of, flags).doing(|| format!("setns({names})")),
    )
    .map_err(|error| match error.is(Errno::EPERM) {
        true => error.hint("it belongs to another user namespace; root may join it"),
        false => error,
    })
}

// ANCHOR: child_main
/// What the container's first process does between the clone and the exec.
fn child_main(
    mut process: Process,
    mechanisms: &[Box<dyn Mechanism>],
    channel: &ChildEnd,
) -> Result<std::convert::Infallible> {
    // Let the parent do its part: id maps, veth.
    channel.wait_for_go()?;

    // Leave the caller's session: neither its terminal nor its keys are ours.
    unistd::setsid().doing(|| "setsid()")?;
    sys::join_new_session_keyring();
    process.take_stdio()?;
    let title = process.init.then(init::Title::find).flatten();

    // Let every mechanism do its part, in order.
    for mechanism in mechanisms {
        mechanism.in_child()?;
    }

    // Make sure, now that changes of identity are over, that nobody outlives the parent.
    if process.die_with_parent {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing(|| "prctl(PR_SET_PDEATHSIG)")?;
    }

    // Find the program while an error can still be told.
    process.prepare(channel.as_fd())?;
    let program = process.find_program()?;

    // Stop at the brink, until the parent lets go.
    channel.say(&Message::Ready);
    channel.wait_for_start()?;
    if process.init {
        init::become_init(title, &process.args)?;
    }
    // Told before it is done: afterwards there is nobody left to tell it.
    step(CHAPTER, || format!("execve({:?})", program.display()), || Ok(()))?;
    Err(process.exec(&program))
}
// ANCHOR_END: child_main

/// A container at the brink of exec, or on the way there. Dropping it ends it and leaves
/// nothing.
pub struct Created {
    running: Running,
    channel: ParentEnd,
    /// The child has said that it is at the brink.
    is_ready: bool,
    /// The child has been told that it need not stop there.
    is_let_go: bool,
}

impl Created {
    // ANCHOR: bring_up
    /// Second moment: the parent's part, and the word that it is done.
    fn bring_up(mut self) -> Result<Self> {
        for mechanism in &mut self.running.mechanisms {
            mechanism.in_parent(&self.running.child)?;
        }
        self.channel.go()?;
        Ok(self)
    }

    /// Waits for the child's word that it is ready.
    ///
    /// # Errors
    /// What any mechanism could not do in the child.
    pub fn reach_the_brink(&mut self) -> Result<()> {
        while !self.is_ready {
            match self.channel.hear()? {
                Some(Message::Ready) => self.is_ready = true,
                Some(Message::Error(error)) => return Err(error),
                _ => return Err(self.died("set up")),
            }
        }
        Ok(())
    }
    // ANCHOR_END: bring_up

    /// The container's first process, as the caller's pid namespace counts.
    pub fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// Says beforehand that nobody needs a stop at the brink: the program runs as soon as
    /// all is made. [`Created::start`] tells whether it does.
    pub fn let_go(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_let_go, true) {
            self.channel.start()?;
        }
        Ok(())
    }

    /// Lets the program run.
    ///
    /// # Errors
    /// What any mechanism could not do in the child; what execve(2) answers, with exit
    /// code 126 or 127.
    pub fn start(mut self) -> Result<Running> {
        self.let_go()?;
        self.reach_the_brink()?;
        match self.channel.hear()? {
            None => Ok(self.running),
            Some(Message::Error(error)) => Err(error),
            Some(_) => Err(self.died("start")),
        }
    }

    /// The error of a child that went without a word.
    fn died(&mut self, doing: &str) -> Error {
        match self.running.wait() {
            Ok(Exit::Signal(signal)) => Error::new(format!(
                "{doing} the container: its first process was killed by signal {signal}"
            ))
            .hint("a memory limit may be too small for the container to be set up"),
            Ok(Exit::Code(code)) => Error::new(format!(
                "{doing} the container: its first process ended with code {code}"
            )),
            Err(error) => error,
        }
    }
}
