//! Lesson 5: a container that is reachable by address, name and port.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cgroups::cli::LimitArgs;
use cgroups::{Cgroup, DevicePolicy};
use clap::{Args, Parser, Subcommand};
use images::{ImageConfig, Store};
use namespaces::cli::{self, Defaults, RunArgs};
use namespaces::{Container, Error, Result, doctor, explain, userns};
use networking::cli::NetworkArgs;
use networking::{DEFAULT, Endpoint, Etc, Networks, parse_expose};
use rootfs::cli::RootArgs;
use rootfs::{Rootfs, Scratch};

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
    /// Say what this machine lacks, and what to do
    Doctor,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// IMAGE is a folder to stand on, which takes the changes
    #[arg(long)]
    rootfs: bool,
    /// An image of the store, by name or id
    image: String,
    /// The program and its arguments, if not the image's own
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
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
    let root = || Ok(cli.root.path()?);
    cli::exit_with(match cli.command {
        Command::Run(run) => root().and_then(|root| run.act(&root)),
        Command::Network(command) => root().and_then(|root| command.act(&Networks::open(&root)?)),
        Command::Doctor => Ok(doctor::report(&networking::doctor::checks())),
    })
}

impl Run {
    fn act(self, root: &Path) -> Result<u8> {
        let args = &self.args.process;
        if args.explain {
            explain::print_live();
        }
        let id = format!("{:x}", std::process::id());
        let (layers, image) = self.stand_on(root)?;
        let defaults = defaults(&image, &id)?;

        // Take the address and the ports first: they are what may be refused.
        let networks = Networks::open(root)?;
        let ports = self.network.ports(&exposed(&image)?)?;
        let mode = &self.network.mode();
        let endpoint = Endpoint::reserve(&networks, mode, &id, &ports, parse_pid)?;
        let hostname = self.args.hostname.as_ref().unwrap_or(&defaults.hostname);
        let files = endpoint.files(hostname, &self.network.names())?;
        let etc = files.map(|files| Etc::new(root.join("etc").join(&id), files));

        let scratch = Scratch::below(root);
        let upper = (!self.rootfs).then(|| scratch.upper());
        let mut rootfs = Rootfs::new(layers, upper, scratch.target());
        rootfs.volatile = true;
        self.root.apply(&mut rootfs)?;
        etc.iter().flat_map(Etc::mounts).for_each(|mount| rootfs.add_mount(mount));

        let mut process = self.args.process(program(&self, &image)?, &defaults)?;
        process.die_with_parent = true;
        let (terminal, console) = args.terminal()?.unzip();
        let container = Container::new(process)
            .with(scratch)
            .with_some(etc)
            .with(self.args.namespaces(&defaults)?)
            .with(self.cgroup(&id)?)
            .with(endpoint)
            .with(rootfs)
            .with_some(terminal)
            .with_some(args.user(&defaults));
        cli::run_to_end(container, console, args.interactive)
    }

    /// The layers, bottom first, and how the image wants to be run.
    fn stand_on(&self, root: &Path) -> Result<(Vec<PathBuf>, ImageConfig)> {
        if self.rootfs {
            return Ok((vec![PathBuf::from(&self.image)], ImageConfig::default()));
        }
        let find = || {
            let store = Store::open(root)?;
            let image = store.resolve(&self.image)?;
            Ok((store.layers(&image)?, image.config))
        };
        // An ordinary user is root over the layers' many owners in a user namespace only.
        if userns::needed() { userns::run_in(find) } else { find() }
    }

    fn cgroup(&self, id: &str) -> Result<Cgroup> {
        let devices = match self.limits.devices() {
            DevicePolicy::Default(rules) => {
                DevicePolicy::Default([rules, self.root.device_rules()?].concat())
            }
            all => all,
        };
        let name = format!("{}/{id}", self.limits.cgroup_parent);
        Ok(Cgroup::new(&name, self.limits.limits()?, devices))
    }
}

/// The image's entrypoint, and what follows it: the command line's or the image's.
fn program(run: &Run, image: &ImageConfig) -> Result<Vec<OsString>> {
    let words = |words: &Option<Vec<String>>| -> Vec<OsString> {
        words.iter().flatten().map(OsString::from).collect()
    };
    let config = &image.config;
    let rest = if run.program.is_empty() { words(&config.cmd) } else { run.program.clone() };
    let program = [words(&config.entrypoint), rest].concat();
    match program.is_empty() {
        true => Err(Error::new("no command specified")),
        false => Ok(program),
    }
}

fn defaults(image: &ImageConfig, id: &str) -> Result<Defaults> {
    let config = &image.config;
    let env = config.env.iter().filter_map(|line| line.split_once('='));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Ok(Defaults {
        hostname: id.into(),
        env: env.map(|(key, value)| (key.into(), value.into())).collect(),
        workdir: some(&config.working_dir).map(PathBuf::from),
        user: some(&config.user).map(|user| user.parse()).transpose()?,
    })
}

fn exposed(image: &ImageConfig) -> Result<Vec<(u16, networking::Protocol)>> {
    let ports: Result<Vec<_>> =
        image.config.exposed_ports.iter().map(|port| parse_expose(port)).collect();
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
