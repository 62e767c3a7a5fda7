//! Lesson 4: a root that came, verified, from a registry.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use clap::{Parser, Subcommand};
use images::cli::{Args, Command, ImageAndCommand, PullPolicy, Root};
use images::{Error, Image, Store};
use namespaces::{Container, Result, cli, doctor, explain, userns};
use rootfs::{DevConsole, Rootfs, Scratch};

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
    let done = as_owner(|| Ok(command.run(&Store::open(&root)?)?));
    // 125 is for what fails before a container runs; no container is meant to run here.
    done.map(|()| 0).map_err(|error| error.exit_code(1))
}

/// Layers have files of many owners. An ordinary user is root over them only in a
/// user namespace.
fn as_owner<T: serde::Serialize + serde::de::DeserializeOwned>(
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if userns::needed() { userns::run_in(work) } else { work() }
}

impl Run {
    fn act(self, root: &Path) -> Result<u8> {
        let process_args = &self.args.rootfs.run.process;
        if process_args.explain {
            explain::print_live();
        }
        let store = Store::open(root)?;
        let image = self.image(&store, root)?;
        let layers = self.layers(&store, &image)?;
        let name = std::process::id().to_string();
        let defaults = images::run::defaults(&image.config.config, &name)?;
        let program = images::run::program(
            &image.config.config,
            self.args.entrypoint.as_ref(),
            self.what.command(),
        )?;
        let process = self.args.rootfs.run.process(program, &defaults)?;
        let scratch = Scratch::below(&scratch_folder(root)?);
        let mut stands_on = Rootfs::new(layers, Some(scratch.upper()), scratch.target());
        // The changes go with the container: nobody needs them on the disk.
        stands_on.volatile = true;
        self.args.rootfs.root.apply(&mut stands_on)?;
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
            .with_some(terminal)
            .with_some(dev_console)
            .with_some(process_args.user(&defaults));
        let code = cli::run_to_end(container, console, process_args.interactive)?;
        if let Some(out_of_memory) = out_of_memory.take() {
            eprintln!("images: {}", out_of_memory.told(code));
        }
        Ok(code)
    }

    /// The image, pulled if need be: by another process, because a pull has threads, and
    /// a container is not cloned from a process that has had any.
    fn image(&self, store: &Store, root: &Path) -> Result<Image> {
        let found = match self.args.pull {
            PullPolicy::Always => Err(Error::NotFound(String::new())),
            _ => store.resolve(self.what.image()?),
        };
        match found {
            Err(Error::NotFound(_)) if self.args.pull != PullPolicy::Never => {
                let mut pull = Program::new("/proc/self/exe");
                pull.arg0("images")
                    .arg("--root")
                    .arg(root)
                    .args(["pull", self.what.image()?])
                    .stdout(Stdio::null());
                match pull.status() {
                    Ok(status) if status.success() => Ok(store.resolve(self.what.image()?)?),
                    // It has said why.
                    Ok(_) => std::process::exit(125),
                    Err(error) => Err(namespaces::Error::os("start the pull", error)),
                }
            }
            found => Ok(found?),
        }
    }

    /// Looks first: an ordinary user needs no user namespace to find that all is there.
    fn layers(&self, store: &Store, image: &Image) -> Result<Vec<PathBuf>> {
        match store.is_unpacked(image) {
            true => Ok(store.layers(image)?),
            false => as_owner(|| Ok(store.layers(image)?)),
        }
    }
}

/// Where what a container changes is kept until it ends.
fn scratch_folder(root: &Path) -> Result<PathBuf> {
    let folder = root.join("scratch");
    let made = std::fs::create_dir_all(&folder);
    made.map_err(|error| namespaces::Error::os(format!("create {}", folder.display()), error))?;
    Ok(folder)
}
