//! The program that runs inside, and how it is found and started.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd;

use crate::accounts::accounts;
use crate::error::{Context, Error, Result};
use crate::sys;

/// The search path of a container that sets none, as Docker has it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program that a container runs: what execve(2) is given, and what the
/// process must be like by then.
#[derive(Debug)]
pub struct Process {
    /// The arguments; the first is the program, looked up in the `PATH` of `env`.
    pub args: Vec<OsString>,
    /// The whole environment. Nothing of the caller's is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute, as the container sees it.
    pub cwd: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// Run a small init as pid 1 that forwards signals and reaps zombies, and the
    /// program as its child.
    pub init: bool,
    /// Die when the process that started the container dies.
    pub die_with_parent: bool,
    /// Standard input, output and error; `None` means the caller's own.
    pub stdio: Option<[OwnedFd; 3]>,
}

impl Process {
    /// A process with an empty environment but for `PATH`, in `/`, with umask 022.
    pub fn new<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: vec![("PATH".into(), DEFAULT_PATH.into())],
            cwd: "/".into(),
            umask: 0o022,
            init: false,
            die_with_parent: false,
            stdio: None,
        }
    }

    /// Puts `stdio` on descriptors 0, 1 and 2.
    pub(crate) fn take_stdio(&mut self) -> Result<()> {
        let Some([stdin, stdout, stderr]) = self.stdio.take() else { return Ok(()) };
        unistd::dup2_stdin(&stdin).doing(|| "duplicate standard input")?;
        unistd::dup2_stdout(&stdout).doing(|| "duplicate standard output")?;
        unistd::dup2_stderr(&stderr).doing(|| "duplicate standard error")
    }

    // ANCHOR: prepare
    /// Makes the process what the program expects to be: in its directory, with
    /// its umask, with no signal blocked or ignored, with no descriptor of ours.
    ///
    /// Descriptors go first. A directory of the host that is still open, even if only
    /// until the exec, is a way out for a working directory or a program of the name
    /// `/proc/self/fd/7/../..` (CVE-2024-21626). `channel` stays until the exec.
    pub(crate) fn prepare(&mut self, channel: BorrowedFd) -> Result<()> {
        sys::close_from_but(3, channel);
        self.enter_cwd()?;
        self.set_home();
        umask(Mode::from_bits_truncate(self.umask));
        sys::reset_signal_actions();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .doing(|| "unblock the signals")
    }
    // ANCHOR_END: prepare

    /// `HOME`, where nobody has set it, is what the container's `/etc/passwd` says.
    fn set_home(&mut self) {
        if self.env("HOME").is_none() {
            let uid = unistd::getuid().as_raw();
            let account = accounts().into_iter().find(|account| account.uid == uid);
            let home = account.map(|account| account.home.into_os_string());
            let home = home.filter(|home| !home.is_empty()).unwrap_or("/".into());
            self.env.push(("HOME".into(), home));
        }
    }

    // ANCHOR: enter_cwd
    /// chdir(2), and a look at where that led: a `/proc/self/fd/N` of ours would
    /// lead out of the container (CVE-2024-21626).
    fn enter_cwd(&self) -> Result<()> {
        let what = || format!("change to the working directory {}", self.cwd.display());
        // As for a program that is not there, or may not be run.
        unistd::chdir(&self.cwd).doing(what).map_err(|error| match error.is(Errno::EACCES) {
            true => error.exit_code(126),
            false => error.exit_code(127),
        })?;
        match unistd::getcwd() {
            Ok(cwd) if cwd.is_absolute() && !cwd.starts_with("/proc/self/fd") => Ok(()),
            _ => Err(Error::new(what()).hint("it is outside of the container")),
        }
    }
    // ANCHOR_END: enter_cwd

    /// The program's path: looked up in `PATH` where its name has no slash, as a
    /// shell does it.
    ///
    /// # Errors
    /// Exit code 127 where there is no such file, 126 where it may not be run.
    pub(crate) fn find_program(&self) -> Result<PathBuf> {
        let name = self.args.first().ok_or_else(|| Error::new("no program was given"))?;
        if name.as_bytes().contains(&b'/') {
            let path = PathBuf::from(name);
            return executable(&path).map(|()| path).map_err(|errno| cannot_run(name, errno));
        }
        let path = self.env("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
        let mut worst = Errno::ENOENT;
        for folder in path.as_bytes().split(|byte| *byte == b':') {
            let candidate = Path::new(OsStr::from_bytes(folder)).join(name);
            match executable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(Errno::EACCES) => worst = Errno::EACCES,
                Err(_) => {}
            }
        }
        Err(cannot_run(name, worst))
    }

    /// The value of an environment variable of the container.
    pub fn env(&self, name: &str) -> Option<&OsStr> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// execve(2). Returns only the error.
    pub(crate) fn exec(&self, program: &Path) -> Error {
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::EINVAL);
        let args = self
            .args
            .iter()
            .map(|arg| text(arg.as_bytes().to_vec()))
            .collect::<Result<Vec<_>, _>>();
        let env = self
            .env
            .iter()
            .map(|(key, value)| text([key.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect::<Result<Vec<_>, _>>();
        let path = text(program.as_os_str().to_owned().into_vec());
        let errno = match (path, args, env) {
            (Ok(path), Ok(args), Ok(env)) => match unistd::execve(&path, &args, &env) {
                Ok(never) => match never {},
                Err(errno) => errno,
            },
            _ => Errno::EINVAL,
        };
        cannot_run(program.as_os_str(), errno)
    }
}

/// True if execve(2) would try `path`. Asked with the identity that counts there, the
/// effective one. The kernel's rule is kept by asking the kernel: also root needs an
/// execute bit, anyone's, and no mount with noexec.
fn executable(path: &Path) -> Result<(), Errno> {
    let at = AtFlags::AT_EACCESS;
    unistd::faccessat(nix::fcntl::AT_FDCWD, path, unistd::AccessFlags::X_OK, at)?;
    if path.is_dir() { Err(Errno::EISDIR) } else { Ok(()) }
}

/// What execve(2)'s errors mean for whoever typed the command.
fn cannot_run(program: &OsStr, errno: Errno) -> Error {
    let error = Error::os(format!("exec {}", program.display()), errno);
    match errno {
        Errno::ENOENT if !program.as_bytes().contains(&b'/') => {
            Error::new(format!("exec {}: executable file not found in $PATH", program.display()))
                .exit_code(127)
        }
        Errno::ENOENT if Path::new(program).exists() => error.exit_code(127).hint(
            "the file is there, but the interpreter it asks for (its loader, or what follows #!) is not",
        ),
        Errno::ENOENT => error.exit_code(127),
        Errno::ENOTDIR => error.exit_code(127),
        Errno::ENOEXEC => error.exit_code(126).hint("it is not built for this machine, or has no #! line"),
        _ => error.exit_code(126),
    }
}
