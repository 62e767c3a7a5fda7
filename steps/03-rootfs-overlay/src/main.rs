//! Lesson 3: a container that stands on its own, layered, root.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use namespaces::cli::{self, Defaults};
use namespaces::{Container, Result, doctor, explain, userns};
use rootfs::cli::Args;
use rootfs::{DevConsole, Rootfs, Scratch, Upper, WorkingDirectory};

/// A container that stands on its own, layered, root
#[derive(Parser)]
#[command(name = "rootfs", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program on a root made of directories
    Run(Box<Run>),
    /// List what a kept upper directory changes: A added, C changed, D deleted
    Changes(Changes),
    /// Tell what this machine can do, and what it lacks
    Doctor,
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    args: Args,
    /// A directory to stand on, which is not changed; more than once: layers, the bottom one first
    #[arg(long = "rootfs", value_name = "DIR", required = true)]
    layers: Vec<PathBuf>,
    /// Put what lives as long as the container below DIR [default: $TMPDIR, or /tmp]
    #[arg(long = "root", value_name = "DIR")]
    parent: Option<PathBuf>,
    /// Keep the changes in DIR, and find them there the next time
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(clap::Args)]
struct Changes {
    /// The directories that the container stood on, the bottom one first
    #[arg(long = "rootfs", value_name = "DIR")]
    layers: Vec<PathBuf>,
    /// The directory that was given to `run --upper`
    upper: PathBuf,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::exit_with(match cli.command {
        Command::Run(run) => run.act(),
        Command::Changes(changes) => changes.act(),
        Command::Doctor => Ok(doctor::report(&rootfs::doctor::checks())),
    })
}

impl Run {
    fn act(self) -> Result<u8> {
        let process_args = &self.args.run.process;
        if process_args.explain {
            explain::print_live();
        }
        let name = std::process::id().to_string();
        let defaults = Defaults { hostname: name.clone(), ..Defaults::default() };
        let scratch = Scratch::below(&self.parent.clone().unwrap_or_else(std::env::temp_dir));
        let root = self.root(&scratch)?;
        let process = self.args.run.process(self.program, &defaults)?;
        let workdir = WorkingDirectory(process.cwd.clone());
        let cgroup = self.args.cgroup(&name)?;
        let out_of_memory = cgroup.out_of_memory();
        let (terminal, console) = process_args.terminal()?.unzip();
        let dev_console = terminal.is_some().then_some(DevConsole);

        // ANCHOR: run
        // The order is the meaning.
        let container = Container::new(process)
            .with(scratch)
            .with(self.args.run.namespaces(&defaults)?)
            .with(cgroup)
            .with(root)
            .with(workdir)
            .with_some(terminal)
            .with_some(dev_console)
            .with_some(process_args.user(&defaults));
        let code = cli::run_to_end(container, console, process_args.interactive)?;
        // ANCHOR_END: run
        if let Some(out_of_memory) = out_of_memory.take() {
            cli::tell(format_args!("rootfs: {}", out_of_memory.told(code)));
        }
        Ok(code)
    }

    fn root(&self, scratch: &Scratch) -> Result<Rootfs> {
        let upper = match &self.upper {
            None => scratch.upper(),
            Some(kept) => Upper::below(kept)?,
        };
        let mut root = Rootfs::new(self.layers.clone(), Some(upper), scratch.target());
        root.volatile = self.upper.is_none();
        self.args.apply(&mut root)?;
        Ok(root)
    }
}

impl Changes {
    fn act(self) -> Result<u8> {
        let upper = self.upper.join("upper");
        let compare = || rootfs::changes(&self.layers, &upper);
        // The files of the container's users can only be read where their ids count.
        let changes = if userns::needed() { userns::run_in(compare) } else { compare() };
        let lines: String = changes?.iter().map(|change| format!("{change}\n")).collect();
        cli::print(&lines).map(|()| 0)
    }
}
