//! The command line: one file for each command, or noun. Speaks to [`crate::client`] only.

pub mod about;
pub mod attach;
pub mod change;
pub mod connections;
pub mod containers;
pub mod cp;
pub mod described;
pub mod df;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod explain;
pub mod format;
pub mod human;
pub mod id_file;
pub mod image_list;
pub mod images;
pub mod inspect;
pub mod login;
pub mod logs;
pub mod mounts;
pub mod networks;
pub mod nouns;
pub mod observe;
pub mod options;
pub mod out;
pub mod prune;
pub mod ps;
pub mod run;
pub mod spelling;
pub mod stats;
pub mod streams;
pub mod supervision;
pub mod table;
pub mod usage;
pub mod volumes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::Client;
use crate::daemon::DaemonArgs;
use described::Flags;

/// A container engine that one person can build and one person can carry.
///
/// Runs containers from images, as Docker does, with Docker's words. No daemon is
/// needed; where one listens, it is used.
#[derive(Debug, Args)]
// A flag that is given twice counts as it was given last, as Docker has it.
#[command(args_override_self = true)]
#[command(name = "coracle", version, propagate_version = true, after_help = EXAMPLES)]
#[command(mut_arg("root", or_variable))]
pub struct Cli {
    /// Keep everything under this folder: images, containers, names, networks.
    ///
    /// Engines with different roots know nothing of each other. The default is
    /// /var/lib/coracle for root and $XDG_DATA_HOME/coracle for an ordinary user.
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl CommandFactory for Cli {
    fn command() -> clap::Command {
        Self::augment_args(clap::Command::new("coracle"))
    }

    fn command_for_update() -> clap::Command {
        Self::augment_args_for_update(clap::Command::new("coracle"))
    }
}

impl Parser for Cli {
    fn try_parse() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::env::args_os())
    }

    /// A line that cannot be read is read once more, in every spelling that Docker takes.
    fn try_parse_from<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let read = |command: clap::Command| {
            let mut matches = command.try_get_matches_from(&words)?;
            Self::from_arg_matches_mut(&mut matches)
        };
        read(Self::command()).or_else(|error| match error.use_stderr() {
            true => read(spelling::generous(Self::command())),
            false => Err(error),
        })
    }
}

/// The variable that says what `--root` does not. Empty, it says nothing, as if it were
/// not set.
fn or_variable(root: clap::Arg) -> clap::Arg {
    const NAME: &str = "CORACLE_ROOT";
    match std::env::var_os(NAME) {
        Some(value) if value.is_empty() => root,
        _ => root.env(NAME),
    }
}

const EXAMPLES: &str = "\
Examples:
  coracle run -it host sh                       a shell in a container made from this host's own programs
  coracle run --rm -m 64m alpine echo hello     an image from Docker Hub, with at most 64 MiB of memory
  coracle run -d --name web -p 8080:80 nginx    in the background, with a port of the host
  coracle explain web                           how that container was made, step by step
";

/// Everything that coracle can be asked for.
#[derive(Debug, Subcommand)]
// Only the command that is asked for builds its flags.
#[command(defer = true)]
pub enum Command {
    /// Create a container from an image, and run a program in it.
    Run(Flags<Box<run::RunArgs>>),
    /// Create a container, but do not start it.
    Create(Flags<Box<run::CreateArgs>>),
    /// Start containers that do not run.
    Start(Flags<containers::StartArgs>),
    /// Stop containers: ask, then kill.
    Stop(Flags<containers::StopArgs>),
    /// Stop containers, and start them again.
    Restart(Flags<containers::StopArgs>),
    /// Send a signal to containers.
    Kill(Flags<containers::KillArgs>),
    /// Freeze all processes of containers.
    Pause(Flags<containers::NamesArgs>),
    /// Let frozen containers go on.
    Unpause(Flags<containers::NamesArgs>),
    /// Wait until containers end, and print their exit codes.
    Wait(Flags<containers::NamesArgs>),
    /// Remove containers.
    Rm(Flags<containers::RmArgs>),
    /// List containers.
    #[command(visible_alias = "ls")]
    Ps(Flags<ps::PsArgs>),
    /// Show what a container has said.
    Logs(Flags<logs::LogsArgs>),
    /// Be with a container that runs: see its output, give it input.
    Attach(Flags<attach::AttachArgs>),
    /// Give a container another name.
    Rename(Flags<change::RenameArgs>),
    /// Change the limits and the restart policy of containers.
    Update(Flags<change::UpdateArgs>),
    /// Show the processes of a container.
    Top(Flags<observe::TopArgs>),
    /// Show what containers use, as it changes.
    Stats(Flags<stats::StatsArgs>),
    /// Show the published ports of a container.
    Port(Flags<observe::PortArgs>),
    /// Copy files into a container and out of it, also when it does not run.
    Cp(Flags<cp::CpArgs>),
    /// Show what a container has changed in its image.
    Diff(Flags<observe::DiffArgs>),
    /// Run another program in a running container.
    Exec(Flags<exec::ExecArgs>),
    /// Show everything that is known of containers, images or volumes, as JSON.
    Inspect(Flags<inspect::InspectArgs>),
    /// Show how a container was made: every request to the kernel, with its time.
    Explain(Flags<explain::ExplainArgs>),
    /// Download an image from a registry.
    Pull(Flags<images::PullArgs>),
    /// List images.
    Images(Flags<image_list::ImagesArgs>),
    /// Remove images.
    Rmi(Flags<images::RmiArgs>),
    /// Give an image one more name.
    Tag(Flags<image_list::TagArgs>),
    /// Show how an image came to be, layer by layer.
    History(Flags<image_list::HistoryArgs>),
    /// Show which versions this is made of.
    Version(Flags<about::AboutArgs>),
    /// Show what there is, and what it runs on.
    Info(Flags<about::AboutArgs>),
    /// Do something with containers.
    Container(Flags<Noun<nouns::ContainerCommand>>),
    /// Do something with images.
    Image(Flags<Noun<nouns::ImageCommand>>),
    /// Look at everything, and clean up.
    System(Flags<Noun<nouns::SystemCommand>>),
    /// Create, list and remove networks, and put containers on them.
    Network(Flags<Noun<networks::NetworkCommand>>),
    /// Create, list and remove volumes.
    Volume(Flags<Noun<volumes::VolumeCommand>>),
    /// Show what happens, as it happens.
    Events(Flags<events::EventsArgs>),
    /// Serve the Docker API on a socket, for docker and other clients.
    Daemon(DaemonArgs),
    /// Say what this machine lacks for containers, and what to do about it.
    Doctor,
    /// Print a script that completes coracle's commands in your shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What there can be commands about. Like a command's flags, its commands are built
/// only when it is asked for.
#[derive(Debug, Args)]
pub struct Noun<C: Subcommand> {
    /// What to do.
    #[command(subcommand)]
    pub command: C,
}

impl Command {
    /// The exit code of what the engine refuses. That of `run` must not be taken for
    /// the program's.
    pub fn exit_code_of_refusals(&self) -> u8 {
        match self {
            Command::Run(_)
            | Command::Container(Flags(Noun { command: nouns::ContainerCommand::Run(_) })) => 125,
            _ => 1,
        }
    }
}

/// Does what was asked for.
pub async fn dispatch(command: Command, client: Client, root: &Path) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(Flags(args)) => run::run(&client, *args).await,
        Command::Create(Flags(args)) => run::create(&client, *args).await,
        Command::Start(Flags(args)) => containers::start(&client, args).await,
        Command::Stop(Flags(args)) => containers::stop(&client, args).await,
        Command::Restart(Flags(args)) => containers::restart(&client, args).await,
        Command::Kill(Flags(args)) => containers::kill(&client, args).await,
        Command::Pause(Flags(args)) => containers::pause(&client, args).await,
        Command::Unpause(Flags(args)) => containers::unpause(&client, args).await,
        Command::Wait(Flags(args)) => containers::wait(&client, args).await,
        Command::Rm(Flags(args)) => containers::rm(&client, args).await,
        Command::Ps(Flags(args)) => ps::ps(&client, args).await,
        Command::Logs(Flags(args)) => logs::logs(&client, args).await,
        Command::Attach(Flags(args)) => attach::attach(&client, args).await,
        Command::Rename(Flags(args)) => change::rename(&client, args).await,
        Command::Update(Flags(args)) => change::update(&client, args).await,
        Command::Top(Flags(args)) => observe::top(&client, args).await,
        Command::Stats(Flags(args)) => stats::stats(&client, args).await,
        Command::Port(Flags(args)) => observe::port(&client, args).await,
        Command::Cp(Flags(args)) => cp::cp(&client, args).await,
        Command::Diff(Flags(args)) => observe::diff(&client, args).await,
        Command::Exec(Flags(args)) => exec::exec(&client, args).await,
        Command::Inspect(Flags(args)) => inspect::inspect(&client, args).await,
        Command::Explain(Flags(args)) => explain::explain(&client, args).await,
        Command::Pull(Flags(args)) => images::pull(&client, args).await,
        Command::Images(Flags(args)) => image_list::list(&client, args).await,
        Command::Rmi(Flags(args)) => images::rmi(&client, args).await,
        Command::Tag(Flags(args)) => image_list::tag(&client, args).await,
        Command::History(Flags(args)) => image_list::history(&client, args).await,
        Command::Version(Flags(args)) => about::version(&client, args).await,
        Command::Info(Flags(args)) => about::info(&client, args).await,
        Command::Container(Flags(noun)) => nouns::container(client, noun.command, root).await,
        Command::Image(Flags(noun)) => nouns::image(&client, noun.command).await,
        Command::System(Flags(noun)) => nouns::system(&client, noun.command).await,
        Command::Network(Flags(noun)) => networks::network(&client, noun.command).await,
        Command::Volume(Flags(noun)) => volumes::volume(&client, noun.command).await,
        Command::Events(Flags(args)) => events::events(&client, args).await,
        Command::Daemon(_) | Command::Doctor | Command::Completion { .. } => {
            unreachable!("main serves these before there is a client")
        }
    }
}

/// `coracle completion`
pub fn completion(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "coracle", &mut script);
    out::text(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Does something for each name; says each failure, and goes on with the next.
pub async fn each<F: Future<Output = anyhow::Result<()>>>(
    names: &[String],
    act: impl Fn(String) -> F,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if let Err(error) = act(name.clone()).await {
            if error.is::<out::Closed>() {
                return Err(error);
            }
            out::tell(format!("coracle: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
