//! Lesson 5: a container that is reachable by address, name and port.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use images::cli::ImageAndCommand;
use images::{RunConfig, Store};
use namespaces::cli;
use namespaces::{Container, Error, Result, doctor, explain};
use networking::cli::NetworkArgs;
use networking::{DEFAULT, Endpoint, Etc, Networks, parse_expose};
use rootfs::{DevConsole, Rootfs, Scratch};

/// A container that is reachable by address, name and port
#[derive(Parser)]
#[command(name = "networking", version)]
struct Cli {
    #[command(flatten)]
    root: images::cli::Root,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program on an image, with limits and a network
    Run(Box<Run>),
    /// Look at the networks
    #[command(subcommand)]
    Network(Network),
    #[command(flatten)]
    Images(images::cli::Command),
    /// Say what this machine lacks, and what to do
    Doctor,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    args: images::cli::Args,
    #[command(flatten)]
    network: NetworkArgs,
    /// IMAGE is a folder to stand on; changes to it are thrown away
    #[arg(long)]
    rootfs: bool,
    #[command(flatten)]
    what: ImageAndCommand,
}

#[derive(Subcommand)]
enum Network {
    /// List the networks
    Ls,
    /// Show a network and who is on it, as JSON
    Inspect {
        /// The network's name or id
        #[arg(default_value = DEFAULT)]
        name: String,
    },
    /// Take a network's bridge and rules off this host until it is needed again
    Down {
        /// The network's name or id
        #[arg(default_value = DEFAULT)]
        name: String,
    },
}

fn main() {
    let cli: Cli = cli::parse();
    let root = || cli.root.path().map_err(Error::from);
    cli::exit_with(match cli.command {
        Command::Run(run) => root().and_then(|root| run.act(&root)),
        Command::Network(command) => root().and_then(|root| command.act(&Networks::open(&root)?)),
        Command::Images(command) => root().and_then(|root| {
            let done = images::run::as_owner(|| Ok(command.run(&Store::open(&root)?)?));
            done.map(|()| 0).map_err(|error| error.exit_code(1))
        }),
        Command::Doctor => Ok(doctor::report(&networking::doctor::checks())),
    })
}

impl Run {
    fn act(self, root: &Path) -> Result<u8> {
        let run = &self.args.rootfs.run;
        let process_args = &run.process;
        if process_args.explain {
            explain::print_live();
        }
        let id = format!("{:x}", std::process::id());
        let (layers, image) = self.stand_on(root)?;
        let defaults = images::run::defaults(&image, &id)?;
        let program =
            images::run::program(&image, self.args.entrypoint.as_ref(), self.what.command())?;

        // Take the address and the ports first: they are what may be refused.
        let networks = Networks::open(root)?;
        let ports = self.network.ports(&exposed(&image)?)?;
        let mode = &self.network.mode();
        let endpoint = Endpoint::reserve(&networks, mode, &id, &ports, parse_pid)?;
        let hostname = run.hostname.as_ref().unwrap_or(&defaults.hostname);
        let files = endpoint.files(hostname, &self.network.names())?;
        let etc = files.map(|files| Etc::new(root.join("etc").join(&id), files));

        let scratch = Scratch::below(root);
        let mut rootfs = Rootfs::new(layers, Some(scratch.upper()), scratch.target());
        rootfs.volatile = true;
        self.args.rootfs.root.apply(&mut rootfs)?;
        etc.iter().flat_map(Etc::mounts).for_each(|mount| rootfs.add_mount(mount));

        let mut process = run.process(program, &defaults)?;
        process.die_with_parent = true;
        let cgroup = self.args.rootfs.cgroup(&id)?;
        let out_of_memory = cgroup.out_of_memory();
        let (terminal, console) = process_args.terminal()?.unzip();
        let dev_console = terminal.is_some().then_some(DevConsole);

        // The order is the meaning.
        let container = Container::new(process)
            .with(scratch)
            .with_some(etc)
            .with(run.namespaces(&defaults)?)
            .with(cgroup)
            .with(endpoint)
            .with(rootfs)
            .with_some(terminal)
            .with_some(dev_console)
            .with_some(process_args.user(&defaults));
        let code = cli::run_to_end(container, console, process_args.interactive)?;
        if let Some(out_of_memory) = out_of_memory.take() {
            eprintln!("networking: {}", out_of_memory.told(code));
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

impl Network {
    fn act(&self, networks: &Networks) -> Result<u8> {
        match self {
            Network::Ls => {
                println!("{:<14}{:<12}{:<12}SUBNET", "ID", "NAME", "BRIDGE");
                for network in networks.list()? {
                    let id = &network.id[..12];
                    println!(
                        "{id:<14}{:<12}{:<12}{}",
                        network.name, network.bridge, network.subnet
                    );
                }
            }
            Network::Inspect { name } => {
                networks.reconcile()?;
                let network = networks.find(name)?;
                let leases = networks.leases(&network)?;
                println!("{:#}", serde_json::json!({ "network": network, "leases": leases }));
            }
            Network::Down { name } => networks.down(name)?,
        }
        Ok(0)
    }
}
