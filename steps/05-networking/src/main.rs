//! Lesson 5: a container that is reachable by address, name and port.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use namespaces::{Container, Error, IdMaps, Namespaces, Process, Result, explain, userns};
use networking::cli::NetworkArgs;
use networking::{DEFAULT, Endpoint, Networks};

/// Lesson 5: a container that is reachable by address, name and port
#[derive(Parser)]
struct Args {
    /// Keep leases and networks in this folder
    #[arg(long, global = true, env = "CORACLE_ROOT", default_value_os_t = default_root())]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command in a container
    Run(RunArgs),
    /// Look at the networks
    #[command(subcommand)]
    Network(NetworkCommand),
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// Say how the container is made
    #[arg(long)]
    explain: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

#[derive(Subcommand)]
enum NetworkCommand {
    /// List the networks
    Ls,
    /// Show a network and who is on it
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
    let args = Args::parse();
    let result = Networks::open(&args.root).and_then(|networks| match args.command {
        Command::Run(run) => run_container(&networks, run),
        Command::Network(command) => network(&networks, command).map(|()| 0),
    });
    let code = result.unwrap_or_else(|error| {
        eprintln!("networking: {error}");
        error.exit_code
    });
    std::process::exit(code.into());
}

fn run_container(networks: &Networks, run: RunArgs) -> Result<u8> {
    if run.explain {
        explain::print_live();
    }
    let id = format!("{:x}", std::process::id());
    let ports = run.network.ports(&[])?;
    let endpoint = Endpoint::reserve(networks, &run.network.network, &id, &ports, parse_pid)?;
    let mut namespaces = Namespaces::container();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let process = Process { die_with_parent: true, ..Process::new(run.command) };
    let mut running = Container::new(process).with(namespaces).with(endpoint).guarded().start()?;
    let exit = running.wait()?;
    running.teardown()?;
    Ok(exit.code())
}

/// This lesson's containers have no names yet: `container:PID`.
fn parse_pid(name: &str) -> Result<u32> {
    name.parse().map_err(|_| Error::new(format!("no such container: {name}")))
}

fn network(networks: &Networks, command: NetworkCommand) -> Result<()> {
    match command {
        NetworkCommand::Ls => {
            println!("{:<14}{:<12}{:<12}SUBNET", "ID", "NAME", "BRIDGE");
            for network in networks.list()? {
                let id = &network.id[..12];
                println!("{id:<14}{:<12}{:<12}{}", network.name, network.bridge, network.subnet);
            }
        }
        NetworkCommand::Inspect { name } => {
            networks.reconcile()?;
            let network = networks.find(&name)?;
            let leases = networks.leases(&network)?;
            let shown = serde_json::json!({ "network": network, "leases": leases });
            println!("{shown:#}");
        }
        NetworkCommand::Down { name } => networks.down(&name)?,
    }
    Ok(())
}

fn default_root() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/coracle".into();
    }
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or("/".into())).join(".local/share");
    std::env::var_os("XDG_DATA_HOME").map_or_else(home, PathBuf::from).join("coracle")
}
