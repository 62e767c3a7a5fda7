//! Additional processes in running containers.
//!
//! One is kept as `containers/<id>/execs/<exec id>/`, with a shim of its own.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_stubs::models::{ExecConfig, ExecInspectResponse, ProcessConfig};

use super::containers::Container;
use super::error::{Error, Result};
use super::names::random_hex;
use super::{security, spec};
use crate::runtime::shim::{Attach, Shim};
use crate::runtime::{ExecInstructions, Session, docker_capabilities};
use crate::store::events::exec_action;
use crate::store::{self, ContainerDir, Events, ExecDir, Lock, Root, Status};

/// How many execs are remembered to be found quickly; all of them are on disk.
const KNOWN_LIMIT: usize = 1000;

/// How long after its end an exec can still be asked for its exit code, at least.
const REMEMBERED: Duration = Duration::from_secs(300);

/// An exec, as it was asked for.
struct Found {
    container: ContainerDir,
    exec: ExecDir,
    instructions: ExecInstructions,
}

impl Found {
    /// The exec, if this container has it.
    fn look(container: ContainerDir, id: &str) -> Result<Option<Self>> {
        let exec = container.exec(id);
        let instructions = store::read(&exec.instructions())?;
        Ok(instructions.map(|instructions| Self { container, exec, instructions }))
    }
}

/// The additional processes of one root's containers.
pub struct Execs {
    root: Root,
    /// Where those are that were created here: whoever creates one starts it next.
    known: Mutex<HashMap<String, ContainerDir>>,
}

impl Execs {
    /// Those kept under `root`.
    pub fn new(root: Root) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// Notes down what is to be run; the id to start it by.
    pub fn create(&self, container: &Container, config: ExecConfig) -> Result<String> {
        let record = &container.record;
        match container.state()?.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {} is paused, unpause the container before exec",
                    record.name
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    record.id
                )));
            }
            _ => return Err(Error::conflict(format!("container {} is not running", record.id))),
        }
        let args = config.cmd.unwrap_or_default();
        if args.is_empty() {
            return Err(Error::bad_parameter("no exec command specified"));
        }
        let tty = config.tty.unwrap_or(false);
        let mut env = spec::environment(&record.config, tty);
        spec::override_env(&mut env, &config.env.unwrap_or_default());
        let text = |given: Option<String>, default: &Option<String>| {
            given.filter(|text| !text.is_empty()).or(default.clone()).unwrap_or_default()
        };
        let cwd = text(config.working_dir, &record.config.working_dir);
        let privileged = config.privileged.unwrap_or(false);
        let attach = Attach {
            stdin: config.attach_stdin.unwrap_or(false),
            stdout: config.attach_stdout.unwrap_or(false),
            stderr: config.attach_stderr.unwrap_or(false),
        };
        let session = Session {
            user: text(config.user, &record.config.user),
            groups: record.host_config.group_add.clone().unwrap_or_default(),
            open_stdin: attach.stdin,
            stdin_once: attach.stdin,
            tty_size: spec::console_size(config.console_size.as_deref()),
        };
        let instructions = ExecInstructions {
            args,
            env,
            cwd: if cwd.is_empty() { "/".into() } else { cwd.into() },
            terminal: tty,
            privileged,
            capabilities: privileged.then(|| docker_capabilities(&security::all_capabilities())),
            attach,
            detach_keys: config.detach_keys.unwrap_or_default(),
            session,
        };
        forget_old(&container.dir);
        let id = random_hex(32)?;
        let dir = container.dir.exec(&id);
        dir.create()?;
        store::write(&dir.instructions(), &instructions, false)?;
        let mut known = self.known();
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(id.clone(), container.dir.clone());
        drop(known);
        tell(&container.dir, "exec_create", &id, &instructions);
        Ok(id)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, ContainerDir>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exec with this id, and the container that it is in.
    fn find(&self, id: &str) -> Result<Found> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let known = self.known().get(id).cloned();
        if let Some(found) =
            known.map(|container| Found::look(container, id)).transpose()?.flatten()
        {
            return Ok(found);
        }
        for entry in std::fs::read_dir(self.root.containers())?.flatten() {
            if let Some(found) = Found::look(ContainerDir::at(entry.path()), id)? {
                return Ok(found);
            }
        }
        Err(missing())
    }

    /// Runs it: whether it has a terminal, and its streams unless `detach`ed.
    pub fn start(&self, id: &str, detach: bool) -> Result<(bool, Option<UnixStream>)> {
        let Found { container, exec, instructions } = self.find(id)?;
        if exec.state()?.status != Status::Created {
            return Err(Error::conflict(format!("exec {id} was started already")));
        }
        let attach = (!detach).then_some(instructions.attach);
        // First: what ends at once tells its end itself.
        tell(&container, "exec_start", id, &instructions);
        let stream = Shim::connect(&container)?.exec(id.to_owned(), attach);
        let stream = stream.map_err(|error| match Error::from(error) {
            error if matches!(error.exit_code, 126 | 127) => error,
            // Docker's code where nothing else is known.
            error => Error { exit_code: 126, ..error },
        })?;
        stream.set_nonblocking(true)?;
        Ok((instructions.terminal, (!detach).then_some(stream)))
    }

    /// Tells everyone that its client has left it by the keys.
    pub fn tell_detached(&self, id: &str) {
        if let Ok(Found { container, .. }) = self.find(id) {
            let events = Events::of(container.root());
            events.tell_container(&container, "exec_detach", &[("execID", id)]);
        }
    }

    /// The keys that leave its terminal, as its client wrote them.
    pub fn detach_keys(&self, id: &str) -> Result<String> {
        Ok(self.find(id)?.instructions.detach_keys)
    }

    /// True if it has a terminal.
    pub fn has_terminal(&self, id: &str) -> Result<bool> {
        Ok(self.find(id)?.instructions.terminal)
    }

    /// Tells its terminal its size, in characters.
    pub fn resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let exec = self.find(id)?.exec;
        if !exec.state()?.is_alive() {
            return Err(Error::not_found("no such exec"));
        }
        Ok(Shim::connect(&exec)?.resize(height, width)?)
    }

    /// How it is.
    pub fn inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let Found { container, exec, instructions } = self.find(id)?;
        let state = exec.state()?;
        let running = state.is_alive();
        let attach = instructions.attach;
        let mut args = instructions.args.into_iter();
        Ok(ExecInspectResponse {
            id: Some(id.to_owned()),
            running: Some(running),
            exit_code: state.exit_code.map(i64::from),
            pid: Some(if running { state.pid.into() } else { 0 }),
            container_id: Some(container.id()),
            can_remove: Some(false),
            detach_keys: Some(instructions.detach_keys),
            open_stdin: Some(attach.stdin),
            open_stdout: Some(attach.stdout),
            open_stderr: Some(attach.stderr),
            process_config: Some(ProcessConfig {
                tty: Some(instructions.terminal),
                entrypoint: args.next(),
                arguments: Some(args.collect()),
                privileged: Some(instructions.privileged),
                user: Some(instructions.session.user),
            }),
        })
    }
}

/// Tells of an exec, as an event of its container.
fn tell(container: &ContainerDir, what: &str, id: &str, instructions: &ExecInstructions) {
    let action = exec_action(what, &instructions.args);
    Events::of(container.root()).tell_container(container, &action, &[("execID", id)]);
}

/// Removes the records of execs that ended long ago: a container that lives for months
/// may have had many. Their shims change the folder for the last time when they end.
fn forget_old(container: &ContainerDir) {
    let Ok(entries) = std::fs::read_dir(container.execs()) else { return };
    let is_old = |entry: &std::fs::DirEntry| {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > REMEMBERED))
    };
    for entry in entries.flatten().filter(is_old) {
        let exec = container.exec(&entry.file_name().to_string_lossy());
        let owned = || matches!(Lock::try_exclusive(&exec.lock_path()), Ok(None));
        if exec.lock_path().exists() && owned() {
            continue;
        }
        // It is only memory: what cannot be removed now is removed with the container.
        let _ = std::fs::remove_dir_all(exec.path());
    }
}
