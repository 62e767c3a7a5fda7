//! How well a container is, as its shim has found.

use serde::{Deserialize, Serialize};

/// Docker's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// The last check went well.
    Healthy,
    /// Too many in a row did not, or nobody checks any more.
    Unhealthy,
}

/// Part of [`super::State`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub status: HealthStatus,
    /// How many checks in a row have failed.
    pub failing_streak: u32,
    /// The last five, the oldest first.
    pub log: Vec<Checked>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// When it began: RFC 3339 with nanoseconds, UTC.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Of its program; -1 where there was none, or where it took too long.
    pub exit_code: i32,
    /// What it said, up to 4 KiB.
    pub output: String,
}
