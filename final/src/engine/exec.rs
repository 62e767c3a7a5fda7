//! Additional processes in running containers.
//!
//! One is kept as `containers/<id>/execs/<exec id>/`, with a shim of its own.

use std::os::unix::net::UnixStream;

use bollard_stubs::models::{ExecConfig, ExecInspectResponse, ProcessConfig};

use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

use super::containers::Container;
use super::error::{Error, Result};
use super::names::random_hex;
use super::spec;
use crate::runtime::shim::{self, Attach, Shim};
use crate::runtime::{ExecInstructions, Session, docker_capabilities};
use crate::store::{self, ContainerDir, ExecDir, Record, Root, Status};

/// Which streams the client asked for when it created the exec.
const ATTACH: &str = "attach.json";

#[derive(Serialize, Deserialize)]
struct Wanted(Attach);

impl Record for Wanted {
    const VERSION: u32 = 1;
}

/// An exec, as it was asked for.
struct Found {
    container: ContainerDir,
    exec: ExecDir,
    instructions: ExecInstructions,
    attach: Attach,
}

/// The additional processes of one root's containers.
pub struct Execs {
    root: Root,
}

impl Execs {
    /// Those kept under `root`.
    pub fn new(root: Root) -> Self {
        Self { root }
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
            _ => return Err(Error::conflict(format!("container {} is not running", record.id))),
        }
        let args = config.cmd.unwrap_or_default();
        if args.is_empty() {
            return Err(Error::bad_parameter("no exec command specified"));
        }
        let tty = config.tty.unwrap_or(false);
        let mut env = record.config.env.clone().unwrap_or_default();
        spec::override_env(&mut env, config.env.unwrap_or_default());
        spec::set_default_env(&mut env, tty);
        let text = |given: Option<String>, default: &Option<String>| {
            given.filter(|text| !text.is_empty()).or(default.clone()).unwrap_or_default()
        };
        let cwd = text(config.working_dir, &record.config.working_dir);
        let privileged = config.privileged.unwrap_or(false);
        // What the container's own process may do, this one may.
        let mut process = self.container_process(container)?;
        process.set_args(Some(args)).set_env(Some(env)).set_terminal(Some(tty));
        process.set_cwd(if cwd.is_empty() { "/".into() } else { cwd.into() });
        if privileged {
            process.set_capabilities(Some(docker_capabilities(&spec::all_capabilities())));
        }
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
        let id = random_hex(32)?;
        let dir = container.dir.exec(&id);
        dir.create()?;
        store::write(
            &dir.instructions(),
            &ExecInstructions { process, privileged, session },
            false,
        )?;
        store::write(&dir.path().join(ATTACH), &Wanted(attach), false)?;
        Ok(id)
    }

    fn container_process(&self, container: &Container) -> Result<Process> {
        let bytes = std::fs::read(container.dir.config())?;
        let spec: Spec = serde_json::from_slice(&bytes).map_err(|error| {
            Error::system(format!("read {}: {error}", container.dir.config().display()))
        })?;
        spec.process().clone().ok_or_else(|| Error::system("config.json has no process"))
    }

    /// The exec with this id, and the container that it is in.
    fn find(&self, id: &str) -> Result<Found> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        for entry in std::fs::read_dir(self.root.containers())?.flatten() {
            let container = ContainerDir::at(entry.path());
            let exec = container.exec(id);
            if let Some(instructions) = store::read::<ExecInstructions>(&exec.instructions())? {
                let Wanted(attach) = store::read(&exec.path().join(ATTACH))?.ok_or_else(missing)?;
                return Ok(Found { container, exec, instructions, attach });
            }
        }
        Err(missing())
    }

    /// Runs it: whether it has a terminal, and its streams unless `detach`ed.
    pub fn start(&self, id: &str, detach: bool) -> Result<(bool, Option<UnixStream>)> {
        let Found { container, exec, instructions, attach } = self.find(id)?;
        if exec.state()?.status != Status::Created {
            return Err(Error::conflict(format!("exec {id} was started already")));
        }
        let mut shim = shim::launch_exec(&container, &exec)?;
        let stream = match detach {
            true => None,
            false => Some(Shim::connect(&exec)?.attach(attach)?),
        };
        shim.start()?;
        if let Some(stream) = &stream {
            stream.set_nonblocking(true)?;
        }
        Ok((instructions.process.terminal() == Some(true), stream))
    }

    /// Tells its terminal its size, in characters.
    pub fn resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        Ok(Shim::connect(&self.find(id)?.exec)?.resize(height, width)?)
    }

    /// How it is.
    pub fn inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let Found { container, exec, instructions, attach } = self.find(id)?;
        let state = exec.state()?;
        let running = state.is_alive();
        let mut args = instructions.process.args().clone().unwrap_or_default().into_iter();
        Ok(ExecInspectResponse {
            id: Some(id.to_owned()),
            running: Some(running),
            exit_code: state.exit_code.map(i64::from),
            pid: Some(if running { state.pid.into() } else { 0 }),
            container_id: Some(container.id()),
            can_remove: Some(false),
            detach_keys: Some(String::new()),
            open_stdin: Some(attach.stdin),
            open_stdout: Some(attach.stdout),
            open_stderr: Some(attach.stderr),
            process_config: Some(ProcessConfig {
                tty: instructions.process.terminal(),
                entrypoint: args.next(),
                arguments: Some(args.collect()),
                privileged: Some(instructions.privileged),
                user: Some(instructions.session.user),
            }),
        })
    }
}
