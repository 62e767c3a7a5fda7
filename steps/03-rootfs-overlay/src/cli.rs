//! The flags of this lesson, on top of the earlier ones'.

use std::path::PathBuf;

/// Where a container stands.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Root")]
pub struct RootArgs {
    /// Mount the root read-only
    #[arg(long)]
    pub read_only: bool,
}

/// Where the layers are. Later lessons have images instead.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Root")]
pub struct LayerArgs {
    /// A directory to stand on; more than once: layers, the bottom one first
    #[arg(long = "rootfs", value_name = "DIR", required = true)]
    pub layers: Vec<PathBuf>,
    /// Keep the changes in DIR, and find them there the next time
    #[arg(long, value_name = "DIR")]
    pub upper: Option<PathBuf>,
}
