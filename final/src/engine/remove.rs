//! Removing a container, so that nothing of it is left.

use std::time::Duration;

use namespaces::userns;
use nix::sys::signal::Signal;

use super::containers::Container;
use super::error::{Error, Result};
use super::worker::{self, Job};
use super::{Engine, hidden, lifecycle};
use crate::runtime::shim::{self, Shim};
use crate::runtime::{self, Found};
use crate::store::events::{Actor, Kind};

/// Removes a container; one that runs only if `force`d, and then it is killed.
/// `volumes`: its anonymous volumes go with it.
pub async fn remove(engine: &Engine, id: &str, force: bool, volumes: bool) -> Result<()> {
    let container = engine.containers.find(id)?;
    if container.state()?.is_alive() {
        if !force {
            return Err(Error::conflict(format!(
                "cannot remove container \"/{}\": container is running: stop the container before \
                 removing or force remove",
                container.record.name
            )));
        }
        let told =
            Shim::connect(&container.dir).and_then(|mut shim| shim.kill(Signal::SIGKILL as i32));
        // Whoever does not listen has ended, or was killed just now, and its program with it.
        let patience = told.is_err().then_some(lifecycle::LAST_BREATH);
        if !lifecycle::ended_within(&container, patience).await? {
            told?;
        }
    } else if runtime::reconcile(&container.dir)? == Found::Owned
        && let Ok(mut shim) = Shim::connect(&container.dir)
    {
        // At the brink: whoever wanted to start it was killed, or is not quick enough. Or
        // it has ended and tidies up, and there is nothing to kill any more.
        let _ = shim.kill(Signal::SIGKILL as i32);
        while container.dir.path().exists() && runtime::reconcile(&container.dir)? == Found::Owned {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    put_away(engine, &container, volumes || container.record.auto_remove())
}

/// Removes what is kept of a container that does not run. Content if its shim
/// was quicker.
pub fn put_away(engine: &Engine, container: &Container, volumes: bool) -> Result<()> {
    super::attach::take_pending(&engine.containers, &container.record.id);
    engine.volumes.release(&container.record.id, volumes)?;
    let record = &container.record;
    let actor = Actor::container(&container.dir);
    let there = container.dir.path().exists();
    match userns::needed() {
        // In a process of its own: files of an ordinary user's containers belong to
        // users that only exist in a user namespace.
        true => {
            worker::run(engine.root.data(), &Job::RemoveContainer(record.id.clone()), |_| true)?
        }
        false => shim::remove(&container.dir)?,
    }
    // Last: a container without its name could not be asked for by it again, but a name
    // without its container is found and taken back.
    engine.root.names().release(&record.name, &record.id)?;
    hidden::clean_up(engine);
    // A shim that removes its container tells of it itself.
    if there {
        engine.events.tell(Kind::Container, "destroy", actor);
    }
    Ok(())
}
