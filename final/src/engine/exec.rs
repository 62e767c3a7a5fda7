//! Additional processes in running containers.
//!
//! One that is started has a shim of its own, which keeps it as
//! `containers/<id>/execs/<exec id>/`. Before that only who was asked for it knows it.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard_stubs::models::{ExecConfig, ExecInspectResponse, ProcessConfig};

use super::containers::Container;
use super::error::{Error, Result};
use super::names::random_hex;
use super::{security, spec};
use crate::runtime::shim::{Attach, Exec, Shim};
use crate::runtime::{ExecInstructions, Session, docker_capabilities};
use crate::store::events::exec_action;
use crate::store::{self, ContainerDir, Events, ExecDir, Root, Status};

/// How many execs are remembered: to be started, or to be found quickly.
const KNOWN_LIMIT: usize = 1000;

/// An exec that was created here.
enum Known {
    /// It was not started yet.
    Created(Found),
    /// It is being handed to its container's shim.
    Starting(Found),
    /// It is on disk.
    Started(ContainerDir),
}

/// An exec, as it was asked for.
#[derive(Clone)]
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
    /// Those that were created here: whoever creates one starts it next.
    known: Mutex<HashMap<String, Known>>,
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
        let id = random_hex(32)?;
        tell(&container.dir, "exec_create", &id, &instructions);
        let container = container.dir.clone();
        let exec = container.exec(&id);
        self.remember(&id, Known::Created(Found { container, exec, instructions }));
        Ok(id)
    }

    fn remember(&self, id: &str, exec: Known) {
        let mut known = self.known();
        if known.len() >= KNOWN_LIMIT {
            // Those that were started are on disk, too.
            known.retain(|_, exec| !matches!(exec, Known::Started(_)));
        }
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(id.to_owned(), exec);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exec with this id, and the container that it is in.
    fn find(&self, id: &str) -> Result<Found> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let known = match self.known().get(id) {
            Some(Known::Created(found) | Known::Starting(found)) => return Ok(found.clone()),
            Some(Known::Started(container)) => Some(container.clone()),
            None => None,
        };
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
        let found = self.take(id)?;
        let shim = Shim::connect(&found.container).inspect_err(|_| {
            // Nothing has happened to it.
            self.remember(id, Known::Created(found.clone()));
        })?;
        let Found { container, instructions, .. } = found;
        let terminal = instructions.terminal;
        let attach = (!detach).then_some(instructions.attach);
        // First: what ends at once tells its end itself.
        tell(&container, "exec_start", id, &instructions);
        let stream = shim.exec(Exec { id: id.to_owned(), attach, instructions });
        self.remember(id, Known::Started(container));
        let stream = stream.map_err(|error| match Error::from(error) {
            error if matches!(error.exit_code, 126 | 127) => error,
            // Docker's code where nothing else is known.
            error => Error { exit_code: 126, ..error },
        })?;
        stream.set_nonblocking(true)?;
        Ok((terminal, (!detach).then_some(stream)))
    }

    /// The exec with this id, to be started, which happens to it once.
    fn take(&self, id: &str) -> Result<Found> {
        if let Some(known) = self.known().get_mut(id)
            && let Known::Created(found) = known
        {
            let found = found.clone();
            *known = Known::Starting(found.clone());
            return Ok(found);
        }
        // All others that there are have been started.
        self.find(id)?;
        Err(Error::conflict(format!("exec {id} was started already")))
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
