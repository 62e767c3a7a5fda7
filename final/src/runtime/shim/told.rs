//! What a shim tells everyone about its container, as events.
//!
//! The shim sees a start and an end first, and may be the only one to see them. What
//! it tells is told in the order in which it happened, for there is one loop.

use std::fmt::Display;
use std::time::Duration;

use networking::{Mode, Network, Networks};

use crate::runtime::Instructions;
use crate::store::events::{Actor, Kind, exec_action};
use crate::store::{self, Asked, AskedMount, ContainerDir, Events, ShimDir, State};

/// Tells of one container, or of one exec of it.
pub struct Teller {
    events: Events,
    container: ContainerDir,
    /// For an exec's shim, which one.
    exec: Option<String>,
}

impl Teller {
    /// For the shim that lives in this folder.
    pub fn new(dir: &ShimDir) -> Self {
        let path = dir.path();
        let execs = path.parent().filter(|folder| folder.ends_with("execs"));
        let (container, exec) = match execs.and_then(|folder| folder.parent()) {
            Some(container) => (container, Some(dir.id())),
            None => (path, None),
        };
        let container = ContainerDir::at(container);
        Self { events: Events::of(container.root()), container, exec }
    }

    fn tell(&self, action: &str, more: &[(&str, &str)]) {
        self.events.tell_container(&self.container, action, more);
    }

    /// Its program runs. An exec's start is told by who asked for it.
    pub fn started(&self) {
        if self.exec.is_some() {
            return;
        }
        for network in self.networks() {
            self.events.tell(Kind::Network, "connect", network);
        }
        for mount in self.volumes() {
            let writable = mount.writable.unwrap_or(true);
            let actor = self
                .volume(&mount)
                .with("destination", mount.destination.unwrap_or_default())
                .with("propagation", mount.propagation.unwrap_or_default())
                .with("read/write", writable);
            self.events.tell(Kind::Volume, "mount", actor);
        }
        self.tell("start", &[]);
    }

    /// Its program has ended.
    pub fn ended(&self, state: &State, ran: Duration) {
        let code = state.exit_code.unwrap_or(0).to_string();
        if let Some(exec) = &self.exec {
            return self.tell("exec_die", &[("execID", exec), ("exitCode", &code)]);
        }
        if state.oom_killed {
            self.tell("oom", &[]);
        }
        let seconds = ran.as_secs().to_string();
        self.tell("die", &[("exitCode", &code), ("execDuration", &seconds)]);
        for network in self.networks() {
            self.events.tell(Kind::Network, "disconnect", network);
        }
        for mount in self.volumes() {
            self.events.tell(Kind::Volume, "unmount", self.volume(&mount));
        }
    }

    /// The bridges that it is on while it runs. An ordinary user's has none.
    fn networks(&self) -> Vec<Actor> {
        let path = self.container.instructions();
        let plan = store::read::<Instructions>(&path).ok().flatten();
        let Some(plan) = plan.and_then(|instructions| instructions.network) else {
            return Vec::new();
        };
        let names = match (plan.places, plan.mode) {
            (Some(places), _) => places.into_iter().map(|place| place.network).collect(),
            (None, Mode::Bridge(name)) => vec![name],
            (None, _) => Vec::new(),
        };
        if names.is_empty() || !nix::unistd::geteuid().is_root() {
            return Vec::new();
        }
        let Ok(networks) = Networks::open(&plan.root) else { return Vec::new() };
        let found = names.iter().filter_map(|name| networks.find(name).ok());
        let actor = |network: Network| {
            let actor = Actor::new(network.id).with("container", self.container.id());
            actor.with("name", network.name).with("type", "bridge")
        };
        found.map(actor).collect()
    }

    fn volumes(&self) -> Vec<AskedMount> {
        let asked = Asked::of(&self.container);
        let is_volume = |mount: &&AskedMount| mount.kind.as_deref() == Some("volume");
        asked.mounts.iter().filter(is_volume).cloned().collect()
    }

    fn volume(&self, mount: &AskedMount) -> Actor {
        Actor::new(mount.name.clone().unwrap_or_default())
            .with("container", self.container.id())
            .with("driver", mount.driver.as_deref().unwrap_or("local"))
    }

    /// An exec that this shim wants itself begins.
    pub fn exec_begins(&self, args: &[String]) {
        let Some(exec) = &self.exec else { return };
        for what in ["exec_create", "exec_start"] {
            self.tell(&exec_action(what, args), &[("execID", exec)]);
        }
    }

    /// Somebody has sent it a signal.
    pub fn signalled(&self, signal: i32) {
        if self.exec.is_none() {
            self.tell("kill", &[("signal", &signal.to_string())]);
        }
    }

    /// Something else that has no more to it than its name.
    pub fn happened(&self, action: impl Display) {
        if self.exec.is_none() {
            self.tell(&action.to_string(), &[]);
        }
    }
}
