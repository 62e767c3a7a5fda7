//! The flags of this lesson, which every later one flattens into its own, and what
//! they mean. Names, meanings and defaults are those of `docker run` and `docker exec`.

mod environment;
mod foreground;
mod words;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, Parser};

pub use environment::parse_env_file;
pub use foreground::run_to_end;
pub use words::{print, tell, tell_error};

use crate::error::{Context, Error, Result};
use crate::{
    ConsoleSocket, DEFAULT_PATH, IdMaps, Namespaces, Process, Size, Terminal, User, userns,
};

/// What counts where the flags say nothing. An image says it, in a later lesson.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// The host name.
    pub hostname: String,
    /// The environment, after `PATH`, `HOSTNAME` and `TERM`, which it may replace.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; `/` if there is none.
    pub workdir: Option<PathBuf>,
    /// The user; root of the container if there is none.
    pub user: Option<User>,
}

/// What a process in a container is given, be it the first one (`run`) or not (`exec`).
#[derive(Debug, Clone, Default, Args)]
pub struct ProcessArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<OsString>,
    /// Read environment variables from a file, one on each line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Start in this directory of the container
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<PathBuf>,
    /// Run as this user, by name or number, as the container knows them
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<User>,
    /// Print what is asked of the kernel while it happens
    #[arg(long)]
    pub explain: bool,
}

/// The flags of `run`. `-h` is the host name's, as in Docker: help is only `--help`.
#[derive(Debug, Clone, Default, Args)]
#[command(disable_help_flag = true)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessArgs,
    /// Run a small init that forwards signals and reaps zombies
    #[arg(long)]
    pub init: bool,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// `host` shares the host's processes
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["host"]))]
    pub pid: Option<String>,
    /// `host` shares the host's semaphores, queues and shared memory
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["private", "host"]))]
    pub ipc: Option<String>,
    /// `host` shares the host's names
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["host"]))]
    pub uts: Option<String>,
    /// `host` shows the host's cgroup paths
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["private", "host"]))]
    pub cgroupns: Option<String>,
    /// `host` makes no user namespace, also for who is not root
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["host"]))]
    pub userns: Option<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub help: Option<bool>,
}

impl ProcessArgs {
    /// The process that runs `program`, which is the arguments too.
    ///
    /// # Errors
    /// A bad variable, a bad file, a working directory that is not absolute.
    pub fn process(&self, program: Vec<OsString>, defaults: &Defaults) -> Result<Process> {
        let mut process = Process::new(program);
        process.env = self.environment(defaults)?;
        process.cwd = self.workdir.clone().or(defaults.workdir.clone()).unwrap_or("/".into());
        if !process.cwd.is_absolute() {
            let path = process.cwd.display();
            return Err(Error::new(format!(
                "the working directory {path} is not an absolute path"
            )));
        }
        if !self.tty {
            process.stdio = Some(self.stdio()?);
        }
        Ok(process)
    }

    /// Docker's order: its own three, then the image's, then files, then flags.
    fn environment(&self, defaults: &Defaults) -> Result<Vec<(OsString, OsString)>> {
        let mut env = vec![("PATH".into(), DEFAULT_PATH.into())];
        if !defaults.hostname.is_empty() {
            env.push(("HOSTNAME".into(), defaults.hostname.clone().into()));
        }
        if self.tty {
            env.push(("TERM".into(), "xterm".into()));
        }
        for (key, value) in &defaults.env {
            environment::set(&mut env, key.clone(), Some(value.clone()));
        }
        for file in &self.env_file {
            environment::read_file(&mut env, file)?;
        }
        for variable in &self.env {
            environment::set_from_flag(&mut env, variable)?;
        }
        Ok(env)
    }

    /// The caller's own, passed on and not copied; without `-i` there is nothing to read.
    fn stdio(&self) -> Result<[OwnedFd; 3]> {
        let stdin = match self.interactive {
            true => std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .doing(|| "duplicate standard input")?,
            false => {
                OpenOptions::new().read(true).open("/dev/null").doing(|| "open /dev/null")?.into()
            }
        };
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        Ok([
            stdin,
            stdout.doing(|| "duplicate standard output")?,
            stderr.doing(|| "duplicate standard error")?,
        ])
    }

    /// The terminal that `-t` asks for, as large as the caller's.
    ///
    /// # Errors
    /// With `-i`, if standard input is no terminal that could be passed through.
    pub fn terminal(&self) -> Result<Option<(Terminal, ConsoleSocket)>> {
        if !self.tty {
            return Ok(None);
        }
        if self.interactive && !std::io::stdin().is_terminal() {
            return Err(Error::new("the input device is not a TTY").hint("leave out -t"));
        }
        let size = Size::of(std::io::stdout()).or_else(|| Size::of(std::io::stdin()));
        Terminal::new(size).map(Some)
    }

    /// The user that `-u` asks for, or else the default one.
    pub fn user(&self, defaults: &Defaults) -> Option<User> {
        self.user.clone().or(defaults.user.clone())
    }
}

impl RunArgs {
    /// As [`ProcessArgs::process`], for the container's first process.
    pub fn process(&self, program: Vec<OsString>, defaults: &Defaults) -> Result<Process> {
        let mut defaults = defaults.clone();
        if let Some(name) = &self.hostname {
            defaults.hostname = name.clone();
        }
        let mut process = self.process.process(program, &defaults)?;
        process.init = self.init;
        Ok(process)
    }

    /// The namespaces that the flags ask for. Who is not root gets a user namespace.
    pub fn namespaces(&self, defaults: &Defaults) -> Result<Namespaces> {
        let shares = [
            (&self.pid, libc::CLONE_NEWPID),
            (&self.ipc, libc::CLONE_NEWIPC),
            (&self.uts, libc::CLONE_NEWUTS),
            (&self.cgroupns, libc::CLONE_NEWCGROUP),
        ];
        let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
        let shared = shares.iter().filter(|(mode, _)| is_host(mode));
        let mut namespaces =
            shared.fold(Namespaces::container(), |all, (_, flag)| all.without(*flag));
        if userns::needed() && !is_host(&self.userns) {
            namespaces = namespaces.user(IdMaps::standard());
        }
        let own_names = self.hostname.is_some() || self.domainname.is_some();
        if is_host(&self.uts) {
            return match own_names {
                true => Err(Error::new(
                    "--hostname and --domainname would rename the host, which --uts host shares",
                )),
                false => Ok(namespaces),
            };
        }
        let name = self.hostname.as_ref().unwrap_or(&defaults.hostname);
        if name.is_empty() || name.len() > 64 {
            return Err(Error::new(format!(
                "{name:?} is no host name: it takes 1 to 64 characters"
            )));
        }
        namespaces = namespaces.hostname(name);
        Ok(match &self.domainname {
            Some(name) => namespaces.domainname(name),
            None => namespaces,
        })
    }
}

/// Parses the command line. What it says wrong ends the process with Docker's code
/// for that, 125. Of what is said twice the last counts, as with Docker: scripts add to
/// what others have written.
pub fn parse<T: Parser>() -> T {
    let mut command = T::command().args_override_self(true);
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| error.format(&mut command)).unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 125 } else { 0 })
    })
}

/// Ends the process as the container ended, or with the error, said once.
pub fn exit_with(result: Result<u8>) -> ! {
    std::process::exit(result.unwrap_or_else(|error| tell_error(&error)).into())
}
