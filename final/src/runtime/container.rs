//! OCI runtime-spec in, mechanisms out.
//!
//! Everything is decided here; nothing has happened yet, but for the network's
//! reservations, which the mechanism gives back. The order of the mechanisms:
//!
//! ```text
//!   namespaces   cgroup   network   sysctls   root   terminal   limits   hardening
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use cgroups::Cgroup;
use namespaces::{
    ConsoleSocket, Container, Context, Error, IdMaps, Join, Namespaces, Process, Result, Size,
    Terminal, User,
};
use networking::Published;
use nix::unistd::Pid;
use oci_spec::runtime::{Linux, LinuxNamespaceType as Kind, Process as OciProcess, Spec};
use rootfs::{DevConsole, Mount, Rootfs, Upper, WorkingDirectory, default_devices};

use super::hardening::Hardening;
use super::instructions::{ExecInstructions, Instructions, NetworkPlan, Session};
use super::network::{Attachment, Connection};
use super::partners::Partners;
use super::seccomp::Filter;
use super::settings::ProcessLimits;
use super::shim::Streams;
use super::sysctls::Sysctls;
use super::{limits, mounts};
use crate::store::ContainerDir;

/// A container that can be created, and what belongs to it.
pub struct Prepared {
    /// The container.
    pub container: Container,
    /// The rest.
    pub rest: Rest,
}

/// What belongs to a container.
pub struct Rest {
    /// Its streams.
    pub streams: Source,
    /// Its cgroup, by name.
    pub cgroup: Option<String>,
    /// Its address, where it has one of its own.
    pub address: Option<Ipv4Addr>,
    /// Its ports, as they were published.
    pub ports: Vec<Published>,
    /// Its networks, where they may change while it lives.
    pub attachment: Option<Attachment>,
}

/// Where the program's streams come from.
pub enum Source {
    /// They are there.
    Pipes(Streams),
    /// A terminal, which the child makes and sends.
    Terminal(ConsoleSocket),
}

impl Source {
    /// The streams, once the container has been created.
    pub fn open(self) -> Result<Streams> {
        match self {
            Source::Pipes(streams) => Ok(streams),
            Source::Terminal(socket) => Streams::terminal(socket.receive()?),
        }
    }
}

/// From the configuration to the mechanisms.
///
/// # Errors
/// What the configuration asks for and there is no way to do; an address or a port
/// that is not free.
pub fn container(
    spec: &Spec,
    instructions: &Instructions,
    dir: &ContainerDir,
) -> Result<(Prepared, Inherited)> {
    let missing = |what| Error::new(format!("read {}: it has no {what}", dir.config().display()));
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux section"))?;

    // What the program is, and its streams.
    let (program, streams, terminal) = session(process, &instructions.session, instructions.init)?;

    let sysctls = Sysctls::of(spec)?;
    let partners = Partners::find(&instructions.partners, dir)?;

    // Where it is in the network decides over three files in its root.
    let plan = instructions.network.as_ref();
    let network = plan.map(|plan| Connection::reserve(plan, dir)).transpose()?;
    let read_only = is_read_only(spec);
    let files = match (&network, plan) {
        (Some(connection), Some(plan)) => names(connection, plan, dir, read_only)?,
        _ => Vec::new(),
    };
    let address = network.as_ref().and_then(Connection::address);
    let ports = network.as_ref().map(Connection::published).unwrap_or_default();
    let attachment = network.as_ref().and_then(Connection::attachment);

    let cgroup = linux.cgroups_path().as_ref();
    let cgroup = cgroup.map(|path| path.to_string_lossy().trim_matches('/').to_owned());
    let filter = linux.seccomp().as_ref().map(Filter::compile).transpose()?;
    let resources = linux.resources().clone().unwrap_or_default();
    let group = cgroup
        .as_deref()
        .map(|name| Cgroup::new(name, limits::limits(&resources), limits::devices(&resources)));
    // ANCHOR: mechanisms
    let container = Container::new(program)
        .with(partners.share(namespaces(spec, linux)?)?)
        .with_some(group)
        .with_some(network)
        .with(sysctls)
        .with(partners.share_memory(root(spec, linux, instructions, files, dir)?)?)
        .with(WorkingDirectory(process.cwd().clone()));
    let container = match terminal {
        Some(terminal) => container.with(terminal).with(DevConsole),
        None => container,
    }
    .with(process_limits(process))
    .with(hardening(process, &instructions.session, filter.clone())?);
    // ANCHOR_END: mechanisms
    let inherited =
        Inherited { process: process.clone(), filter, cgroup: cgroup.clone(), trees: None };
    let rest = Rest { streams, cgroup, address, ports, attachment };
    Ok((Prepared { container, rest }, inherited))
}

/// What every exec has of its container, decided once.
pub struct Inherited {
    process: OciProcess,
    filter: Option<Filter>,
    cgroup: Option<String>,
    /// Where cgroups are on this machine, once somebody has looked.
    trees: Option<cgroups::Mounts>,
}

impl Inherited {
    /// Looks once for all execs where the cgroups are.
    pub fn look_around(&mut self) {
        self.trees = self.trees.take().or_else(|| cgroups::Mounts::of_this_process().ok());
    }
}

/// The way into a running container.
pub struct Door {
    namespaces: Join,
    cgroup: Cgroup,
}

impl Door {
    /// To where its first process is.
    ///
    /// # Errors
    /// The container has ended.
    pub fn find(of: &Inherited, pid: Pid) -> Result<Self> {
        Ok(Self { namespaces: Join::pid(pid)?.at_once(), cgroup: group_of(of, pid)? })
    }
}

/// One more process in a running container: [`Join`] in the place of the namespaces.
///
/// # Errors
/// A user who is not there.
pub fn exec(exec: &ExecInstructions, of: &Inherited, door: Door) -> Result<Prepared> {
    let mut process = of.process.clone();
    process.set_args(Some(exec.args.clone()));
    if !exec.env.is_empty() {
        process.set_env(Some(exec.env.clone()));
    }
    process.set_cwd(exec.cwd.clone()).set_terminal(Some(exec.terminal));
    if exec.capabilities.is_some() {
        process.set_capabilities(exec.capabilities.clone());
    }
    let (program, streams, terminal) = session(&process, &exec.session, false)?;
    let filter = of.filter.clone().filter(|_| !exec.privileged);
    let container = Container::new(program)
        .with(door.namespaces)
        .with(door.cgroup)
        .with_some(terminal)
        .with(process_limits(&process))
        .with(hardening(&process, &exec.session, filter)?);
    let (cgroup, address, ports, attachment) = Default::default();
    Ok(Prepared { container, rest: Rest { streams, cgroup, address, ports, attachment } })
}

/// The container's cgroup. Its first process may have moved into one below, as
/// systemd does; and an ordinary user's container may have none of its own.
fn group_of(of: &Inherited, pid: Pid) -> Result<Cgroup> {
    let existing = of.cgroup.as_deref().zip(of.trees.as_ref());
    let existing = existing.and_then(|(name, trees)| cgroups::Group::open_in(trees, name).ok());
    existing.map_or_else(|| Cgroup::beside(pid), |group| Ok(Cgroup::enter(group)))
}

/// The program, and its streams: pipes, or a terminal.
fn session(
    oci: &OciProcess,
    session: &Session,
    init: bool,
) -> Result<(Process, Source, Option<Terminal>)> {
    let mut process = Process::new(oci.args().clone().unwrap_or_default());
    let pair = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.into(), value.into())
    };
    process.env = oci.env().iter().flatten().map(pair).collect();
    process.cwd = oci.cwd().clone();
    process.umask = oci.user().umask().unwrap_or(0o022);
    process.init = init;
    process.die_with_parent = true;
    if oci.terminal() == Some(true) {
        let size = session.tty_size.map(|(rows, columns)| Size { rows, columns });
        let (terminal, socket) = Terminal::new(size)?;
        process.stdio = Some(null()?);
        Ok((process, Source::Terminal(socket), Some(terminal)))
    } else {
        let (streams, theirs) = Streams::pipes(session.open_stdin)?;
        process.stdio = Some(theirs);
        Ok((process, Source::Pipes(streams), None))
    }
}

/// Until the terminal is there, the child must not hold what is ours.
fn null() -> Result<[std::os::fd::OwnedFd; 3]> {
    let open = || fs::File::options().read(true).write(true).open("/dev/null");
    let open = || open().doing(|| "open /dev/null").map(Into::into);
    Ok([open()?, open()?, open()?])
}

fn namespaces(spec: &Spec, linux: &Linux) -> Result<Namespaces> {
    let mut namespaces = Namespaces::none();
    for namespace in linux.namespaces().iter().flatten() {
        let flag = flag(namespace.typ());
        namespaces = match (namespace.path(), namespace.typ()) {
            (Some(path), _) => namespaces.of_file(path, flag)?,
            (None, Kind::User) => namespaces.user(IdMaps::standard()),
            (None, _) => namespaces.and(flag),
        };
    }
    if let Some(name) = spec.hostname() {
        namespaces = namespaces.hostname(name);
    }
    if let Some(name) = spec.domainname() {
        namespaces = namespaces.domainname(name);
    }
    Ok(namespaces)
}

fn flag(kind: Kind) -> i32 {
    match kind {
        Kind::User => libc::CLONE_NEWUSER,
        Kind::Mount => libc::CLONE_NEWNS,
        Kind::Cgroup => libc::CLONE_NEWCGROUP,
        Kind::Uts => libc::CLONE_NEWUTS,
        Kind::Ipc => libc::CLONE_NEWIPC,
        Kind::Pid => libc::CLONE_NEWPID,
        Kind::Network => libc::CLONE_NEWNET,
        Kind::Time => libc::CLONE_NEWTIME,
    }
}

/// Writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` into the container's
/// folder, to be mounted over the image's.
///
/// In a root that is read-only, so are they.
fn names(
    connection: &Connection,
    plan: &NetworkPlan,
    dir: &ContainerDir,
    read_only: bool,
) -> Result<Vec<Mount>> {
    let Some(files) = connection.files(plan)? else { return Ok(Vec::new()) };
    let files =
        [("hosts", files.hosts), ("hostname", files.hostname), ("resolv.conf", files.resolv_conf)];
    let write = |(name, text): (&str, String)| {
        let path = dir.path().join(name);
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        let mut mount = Mount::bind(path, Path::new("/etc").join(name));
        mount.flags.read_only = read_only;
        Ok(mount)
    };
    files.into_iter().map(write).collect()
}

fn root(
    spec: &Spec,
    linux: &Linux,
    instructions: &Instructions,
    files: Vec<Mount>,
    dir: &ContainerDir,
) -> Result<Rootfs> {
    let asked = spec.mounts().iter().flatten();
    let mut mounts =
        asked.map(|oci| mounts::mount(oci, instructions)).collect::<Result<Vec<Mount>>>()?;
    // What the user mounts there counts, not ours.
    let is_free = |file: &Mount| mounts.iter().all(|mount| mount.destination != file.destination);
    let files: Vec<_> = files.into_iter().filter(is_free).collect();
    mounts.extend(files);
    let oci_root = spec.root().as_ref();
    let (layers, upper) = match instructions.layers.as_slice() {
        [] => {
            (vec![dir.path().join(oci_root.map_or(Path::new("rootfs"), |root| root.path()))], None)
        }
        layers => (layers.to_vec(), Some(Upper { upper: dir.upper(), work: dir.work() })),
    };
    let devices = linux.devices().iter().flatten();
    let more = devices.map(|oci| mounts::device(oci, instructions));
    let paths = |paths: &Option<Vec<String>>| paths.iter().flatten().map(Into::into).collect();
    let mut root = Rootfs::bare(layers, upper, dir.rootfs());
    root.mounts = mounts;
    root.devices = default_devices().into_iter().chain(more).collect();
    root.masked = paths(linux.masked_paths());
    root.readonly_paths = paths(linux.readonly_paths());
    root.read_only = is_read_only(spec);
    root.volatile = instructions.volatile;
    Ok(root)
}

fn is_read_only(spec: &Spec) -> bool {
    spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false)
}

fn process_limits(process: &OciProcess) -> ProcessLimits {
    ProcessLimits {
        rlimits: process.rlimits().clone().unwrap_or_default(),
        oom_score_adj: process.oom_score_adj(),
    }
}

fn hardening(process: &OciProcess, session: &Session, filter: Option<Filter>) -> Result<Hardening> {
    let capabilities = process.capabilities().clone().unwrap_or_default();
    Ok(Hardening::new(user(process, session)?)
        .capabilities(&capabilities)
        .no_new_privileges(process.no_new_privileges().unwrap_or(false))
        .seccomp(filter))
}

fn user(process: &OciProcess, session: &Session) -> Result<User> {
    let oci = process.user();
    let groups = oci.additional_gids().clone().unwrap_or_default();
    let user = match session.user.as_str() {
        "" => User::new(oci.uid(), oci.gid(), &groups),
        name => name.parse::<User>()?,
    };
    Ok(session.groups.iter().fold(user, |user, group| user.and_group(group)))
}
