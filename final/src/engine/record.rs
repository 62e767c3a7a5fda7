//! What is known of a container from its creation on: `container.json`.
//!
//! It is the engine's record, in Docker's own shapes, written once at creation
//! (and again by a rename). What changes while the container lives is the shim's
//! record, `state.json`.

use std::collections::BTreeMap;

use bollard_stubs::models::{ContainerConfig, EndpointSettings, HostConfig, MountPoint};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// A container as it was asked for, completed by its image and the defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without Docker's leading slash.
    pub name: String,
    /// When it was created, in RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The digest of the image's config.
    pub image_id: String,
    /// Docker's `Config`, completed by the image's.
    pub config: ContainerConfig,
    /// Docker's `HostConfig`.
    pub host_config: HostConfig,
    /// The program and its arguments: entrypoint and command in one.
    pub args: Vec<String>,
    /// What is mounted, as `inspect` shows it.
    pub mounts: Vec<MountPoint>,
    /// The networks that it is to be on, by name, with what is wished for there.
    #[serde(default)]
    pub networks: Option<BTreeMap<String, EndpointSettings>>,
}

impl crate::store::Record for Record {
    const VERSION: u32 = 1;
}

impl Record {
    /// The networks that it is to be on: at least its mode's, unless it was taken off.
    pub fn endpoints(&self) -> BTreeMap<String, EndpointSettings> {
        let mode = || self.host_config.network_mode.clone().unwrap_or_default();
        self.networks.clone().unwrap_or_else(|| BTreeMap::from([(mode(), Default::default())]))
    }

    /// True if the container has a terminal.
    pub fn tty(&self) -> bool {
        self.config.tty.unwrap_or(false)
    }

    /// True if the container goes when it ends.
    pub fn auto_remove(&self) -> bool {
        self.host_config.auto_remove.unwrap_or(false)
    }

    /// False for the log driver `none`.
    pub fn keeps_log(&self) -> bool {
        let driver = self.host_config.log_config.as_ref().and_then(|log| log.typ.as_deref());
        driver != Some("none")
    }

    /// Refuses to read a log that is not kept.
    ///
    /// # Errors
    /// It is not.
    pub fn require_log(&self) -> Result<()> {
        match self.keeps_log() {
            true => Ok(()),
            false => Err(Error::system("configured logging driver does not support reading")),
        }
    }

    /// The image as it was asked for.
    pub fn image(&self) -> &str {
        self.config.image.as_deref().unwrap_or_default()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<String> {
        self.config.labels.as_ref()?.get(key).cloned()
    }
}
