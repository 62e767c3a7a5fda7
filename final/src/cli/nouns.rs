//! `container …`, `image …`, `system …`: the same commands under what they are about.
//!
//! Docker has grown two names for most of its commands. Both are here, each pair made
//! of one piece of code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::described::Flags;
use super::inspect::{self, Kind};
use super::{
    Command, about, change, containers, cp, df, dispatch, events, exec, image_list, images, logs,
    observe, prune, ps, run,
};
use crate::client::Client;

/// What can be done with containers.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum ContainerCommand {
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
    #[command(visible_alias = "remove")]
    Rm(Flags<containers::RmArgs>),
    /// List containers.
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Flags<ps::PsArgs>),
    /// Show what a container has said.
    Logs(Flags<logs::LogsArgs>),
    /// Give a container another name.
    Rename(Flags<change::RenameArgs>),
    /// Change the limits and the restart policy of containers.
    Update(Flags<change::UpdateArgs>),
    /// Show the processes of a container.
    Top(Flags<observe::TopArgs>),
    /// Show the published ports of a container.
    Port(Flags<observe::PortArgs>),
    /// Copy files into a container, or out of it.
    Cp(Flags<cp::CpArgs>),
    /// Show what a container has changed in its image.
    Diff(Flags<observe::DiffArgs>),
    /// Run another program in a running container.
    Exec(Flags<exec::ExecArgs>),
    /// Show everything that is known of containers, as JSON.
    Inspect(Flags<inspect::OneKindArgs>),
    /// Remove all containers that do not run.
    Prune(Flags<prune::ContainersArgs>),
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum ImageCommand {
    /// Download an image from a registry.
    Pull(Flags<images::PullArgs>),
    /// List images.
    #[command(visible_alias = "list")]
    Ls(Flags<image_list::ImagesArgs>),
    /// Remove images.
    #[command(visible_alias = "remove")]
    Rm(Flags<images::RmiArgs>),
    /// Give an image one more name.
    Tag(Flags<image_list::TagArgs>),
    /// Show how an image came to be, layer by layer.
    History(Flags<image_list::HistoryArgs>),
    /// Show everything that is known of images, as JSON.
    Inspect(Flags<inspect::OneKindArgs>),
    /// Remove images without a name, or all that no container was made from.
    Prune(Flags<prune::ImagesArgs>),
}

/// What concerns everything.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum SystemCommand {
    /// Show how much room everything takes.
    Df(Flags<df::DfArgs>),
    /// Show what happens, as it happens.
    Events(Flags<events::EventsArgs>),
    /// Show what there is, and what it runs on.
    Info(Flags<about::AboutArgs>),
    /// Remove containers, networks and images that nobody needs.
    Prune(Flags<prune::SystemArgs>),
}

/// `coracle container`
pub async fn container(client: Client, command: ContainerCommand, root: &Path) -> Result<ExitCode> {
    let plain = match command {
        ContainerCommand::Inspect(Flags(args)) => {
            return inspect::inspect_one(&client, args, Kind::Container).await;
        }
        ContainerCommand::Prune(Flags(args)) => return prune::containers(&client, args).await,
        ContainerCommand::Run(args) => Command::Run(args),
        ContainerCommand::Create(args) => Command::Create(args),
        ContainerCommand::Start(args) => Command::Start(args),
        ContainerCommand::Stop(args) => Command::Stop(args),
        ContainerCommand::Restart(args) => Command::Restart(args),
        ContainerCommand::Cp(args) => Command::Cp(args),
        ContainerCommand::Kill(args) => Command::Kill(args),
        ContainerCommand::Pause(args) => Command::Pause(args),
        ContainerCommand::Unpause(args) => Command::Unpause(args),
        ContainerCommand::Wait(args) => Command::Wait(args),
        ContainerCommand::Rm(args) => Command::Rm(args),
        ContainerCommand::Ls(args) => Command::Ps(args),
        ContainerCommand::Logs(args) => Command::Logs(args),
        ContainerCommand::Rename(args) => Command::Rename(args),
        ContainerCommand::Update(args) => Command::Update(args),
        ContainerCommand::Top(args) => Command::Top(args),
        ContainerCommand::Port(args) => Command::Port(args),
        ContainerCommand::Diff(args) => Command::Diff(args),
        ContainerCommand::Exec(args) => Command::Exec(args),
    };
    Box::pin(dispatch(plain, client, root)).await
}

/// `coracle image`
pub async fn image(client: &Client, command: ImageCommand) -> Result<ExitCode> {
    match command {
        ImageCommand::Pull(Flags(args)) => images::pull(client, args).await,
        ImageCommand::Ls(Flags(args)) => image_list::list(client, args).await,
        ImageCommand::Rm(Flags(args)) => images::rmi(client, args).await,
        ImageCommand::Tag(Flags(args)) => image_list::tag(client, args).await,
        ImageCommand::History(Flags(args)) => image_list::history(client, args).await,
        ImageCommand::Inspect(Flags(args)) => inspect::inspect_one(client, args, Kind::Image).await,
        ImageCommand::Prune(Flags(args)) => prune::images(client, args).await,
    }
}

/// `coracle system`
pub async fn system(client: &Client, command: SystemCommand) -> Result<ExitCode> {
    match command {
        SystemCommand::Df(Flags(args)) => df::df(client, args).await,
        SystemCommand::Events(Flags(args)) => events::events(client, args).await,
        SystemCommand::Info(Flags(args)) => about::info(client, args).await,
        SystemCommand::Prune(Flags(args)) => prune::system(client, args).await,
    }
}
