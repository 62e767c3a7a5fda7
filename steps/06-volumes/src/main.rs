//! Lesson 6: a container that keeps what must outlive it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use images::cli::ImageAndCommand;
use images::{RunConfig, Store};
use namespaces::cli;
use namespaces::{Container, Error, Result, doctor, explain};
use networking::cli::NetworkArgs;
use networking::{Endpoint, Etc, Networks, parse_expose};
use rootfs::{DevConsole, Rootfs, Scratch, WorkingDirectory};
use volumes::cli::VolumeArgs;
use volumes::{Taken, Volumes, merge};

/// A container that keeps what must outlive it
#[derive(Parser)]
#[command(name = "volumes", version)]
struct Cli {
    #[command(flatten)]
    root: images::cli::Root,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program on an image, with limits, a network and volumes
    Run(Box<Run>),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volumes::cli::Command),
    #[command(flatten)]
    Images(images::cli::Command),
    /// Tell what this machine can do, and what it lacks
    Doctor,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    args: images::cli::Args,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    volumes: VolumeArgs,
    /// IMAGE is a directory to stand on; changes to it are thrown away
    #[arg(long)]
    rootfs: bool,
    #[command(flatten)]
    what: ImageAndCommand,
}

fn main() {
    let cli: Cli = cli::parse();
    let root = cli.root.path().map_err(Error::from);
    cli::exit_with(root.and_then(|root| match cli.command {
        Command::Run(run) => run.act(&root),
        Command::Volume(command) => {
            let done = Volumes::open(&root).and_then(|volumes| {
                volumes.reconcile(is_running)?;
                command.run(&volumes)
            });
            done.map(|()| 0).map_err(|error| Error::from(error).exit_code(1))
        }
        Command::Images(command) => {
            let done = images::run::as_owner(|| Ok(command.run(&Store::open(&root)?)?));
            done.map(|()| 0).map_err(|error| error.exit_code(1))
        }
        Command::Doctor => Ok(doctor::report(&volumes::doctor::checks(&root))),
    }))
}

impl Run {
    fn act(self, root: &Path) -> Result<u8> {
        let run = &self.args.rootfs.run;
        let process_args = &run.process;
        if process_args.explain {
            explain::print_live();
        }
        let id = this_run();
        let (layers, image) = self.stand_on(root)?;
        let defaults = images::run::defaults(&image, &format!("{:x}", std::process::id()))?;
        let program =
            images::run::program(&image, self.args.entrypoint.as_ref(), self.what.command())?;

        // Take what can be refused: the volumes, the address, the ports.
        let volumes = Volumes::open(root)?;
        let specs = merge(self.volumes.specs()?, &image.volumes)?;
        let (taken, mounts) = Taken::take(&volumes, &specs, &id)?;
        let networks = Networks::open(root)?;
        let ports = self.network.ports(&exposed(&image)?)?;
        let endpoint = Endpoint::reserve(&networks, &self.network.mode(), &id, &ports, parse_pid)?;
        let hostname = run.hostname.as_ref().unwrap_or(&defaults.hostname);
        let files = endpoint.files(hostname, &self.network.names())?;
        let etc = files.map(|files| Etc::new(root.join("etc").join(&id), files));

        // ANCHOR: layout
        // Lay out the root: the image, the volumes, the network's files where none is.
        let scratch = Scratch::below(root);
        let mut rootfs = Rootfs::new(layers, Some(scratch.upper()), scratch.target());
        rootfs.volatile = true;
        self.args.rootfs.apply(&mut rootfs)?;
        let own: Vec<_> = mounts.iter().map(|(mount, _)| mount.destination.clone()).collect();
        mounts.into_iter().for_each(|(mount, _)| rootfs.add_mount(mount));
        let names = etc.iter().flat_map(Etc::mounts);
        let names = names.filter(|mount| !own.contains(&mount.destination));
        names.for_each(|mount| rootfs.add_mount(mount));
        // ANCHOR_END: layout

        let mut process = run.process(program, &defaults)?;
        process.die_with_parent = true;
        let workdir = WorkingDirectory(process.cwd.clone());
        let cgroup = self.args.rootfs.cgroup(&id)?;
        let out_of_memory = cgroup.out_of_memory();
        let (terminal, console) = process_args.terminal()?.unzip();
        let dev_console = terminal.is_some().then_some(DevConsole);

        // The order is the meaning.
        let container = Container::new(process)
            .with(taken)
            .with(scratch)
            .with_some(etc)
            .with(run.namespaces(&defaults)?)
            .with(cgroup)
            .with(endpoint)
            .with(rootfs)
            .with(workdir)
            .with_some(terminal)
            .with_some(dev_console)
            .with_some(process_args.user(&defaults));
        let code = cli::run_to_end(container, console, process_args.interactive)?;
        if let Some(out_of_memory) = out_of_memory.take() {
            cli::tell(format_args!("volumes: {}", out_of_memory.told(code)));
        }
        Ok(code)
    }

    /// The layers, bottom first, and how the image wants to be run.
    fn stand_on(&self, root: &Path) -> Result<(Vec<PathBuf>, RunConfig)> {
        let name = self.what.image()?;
        if self.rootfs {
            return Ok((vec![PathBuf::from(name)], RunConfig::default()));
        }
        let store = Store::open(root)?;
        let image = images::run::find(&store, root, name, self.args.pull)?;
        Ok((images::run::layers(&store, &image)?, image.config.config))
    }
}

fn exposed(image: &RunConfig) -> Result<Vec<(u16, networking::Protocol)>> {
    let ports: Result<Vec<_>> = image.exposed_ports.iter().map(|port| parse_expose(port)).collect();
    Ok(ports?.concat())
}

/// This lesson's containers have no names yet: `container:PID`.
fn parse_pid(name: &str) -> Result<u32> {
    name.parse().map_err(|_| Error::new(format!("no such container: {name}")))
}

/// A name for this run that no other one ever has: pid, and when that pid was born.
fn this_run() -> String {
    let pid = std::process::id();
    format!("{pid:x}-{:x}", birth(pid).unwrap_or_default())
}

fn is_running(run: &str) -> bool {
    let Some((pid, born)) = run.split_once('-') else { return true };
    let hex = |text| u64::from_str_radix(text, 16).ok();
    match (hex(pid), hex(born)) {
        (Some(pid), Some(born)) => birth(pid as u32) == Some(born),
        // Somebody else's, the engine's for example.
        _ => true,
    }
}

/// In clock ticks after the machine's start: proc_pid_stat(5), field 22.
fn birth(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}
