//! Lesson 4: a root that came, verified, from a registry.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use images::Store;
use images::cli::{Args, Command, ImageAndCommand, Root};
use namespaces::{Container, Result, cli, doctor, explain};
use rootfs::{DevConsole, Rootfs, Scratch, WorkingDirectory};

/// A container whose root came, verified, from a registry
#[derive(Parser)]
#[command(name = "images", version)]
struct Cli {
    #[command(flatten)]
    root: Root,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a program of an image
    Run(Box<Run>),
    #[command(flatten)]
    Images(Command),
    /// Tell what this machine can do, and what it lacks
    Doctor,
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    args: Args,
    #[command(flatten)]
    what: ImageAndCommand,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::exit_with(match cli.command {
        Verb::Run(run) => cli.root.path().map_err(Into::into).and_then(|root| run.act(&root)),
        Verb::Images(command) => images(&cli.root, &command),
        Verb::Doctor => cli
            .root
            .path()
            .map_err(Into::into)
            .map(|root| doctor::report(&images::doctor::checks(&root))),
    })
}

fn images(root: &Root, command: &Command) -> Result<u8> {
    // Before we are root: the usual place depends on who we are.
    let root = root.path()?;
    let done = images::run::as_owner(|| Ok(command.run(&Store::open(&root)?)?));
    // 125 is for what fails before a container runs; no container is meant to run here.
    done.map(|()| 0).map_err(|error| error.exit_code(1))
}

impl Run {
    fn act(self, root: &Path) -> Result<u8> {
        let process_args = &self.args.rootfs.run.process;
        if process_args.explain {
            explain::print_live();
        }
        let store = Store::open(root)?;
        let image = images::run::find(&store, root, self.what.image()?, self.args.pull)?;
        let layers = images::run::layers(&store, &image)?;
        let name = std::process::id().to_string();
        let defaults = images::run::defaults(&image.config.config, &name)?;
        let program = images::run::program(
            &image.config.config,
            self.args.entrypoint.as_ref(),
            self.what.command(),
        )?;
        let process = self.args.rootfs.run.process(program, &defaults)?;
        let workdir = WorkingDirectory(process.cwd.clone());
        let scratch = Scratch::below(&scratch_folder(root)?);
        let mut stands_on = Rootfs::new(layers, Some(scratch.upper()), scratch.target());
        // The changes go with the container: nobody needs them on the disk.
        stands_on.volatile = true;
        self.args.rootfs.apply(&mut stands_on)?;
        let cgroup = self.args.rootfs.cgroup(&name)?;
        let out_of_memory = cgroup.out_of_memory();
        let (terminal, console) = process_args.terminal()?.unzip();
        let dev_console = terminal.is_some().then_some(DevConsole);

        // The order is the meaning.
        let container = Container::new(process)
            .with(scratch)
            .with(self.args.rootfs.run.namespaces(&defaults)?)
            .with(cgroup)
            .with(stands_on)
            .with(workdir)
            .with_some(terminal)
            .with_some(dev_console)
            .with_some(process_args.user(&defaults));
        let code = cli::run_to_end(container, console, process_args.interactive)?;
        if let Some(out_of_memory) = out_of_memory.take() {
            cli::tell(format_args!("images: {}", out_of_memory.told(code)));
        }
        Ok(code)
    }
}

/// Where what a container changes is kept until it ends.
fn scratch_folder(root: &Path) -> Result<PathBuf> {
    let folder = root.join("scratch");
    let made = std::fs::create_dir_all(&folder);
    made.map_err(|error| namespaces::Error::os(format!("create {}", folder.display()), error))?;
    Ok(folder)
}
