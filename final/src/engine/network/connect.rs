//! `network connect` and `network disconnect`, of containers that run and that don't.

use bollard_stubs::models::EndpointSettings;
use networking::{DEFAULT, Place};
use nix::unistd::geteuid;

use super::places::{as_asked, is_bridge, place, rewrite, why_fixed, why_unreachable};
use super::{Found, links, names_of, places};
use crate::engine::containers::Container;
use crate::engine::error::{Error, Result};
use crate::engine::record::Record;
use crate::engine::{Engine, rename};
use crate::runtime::shim::Shim;
use crate::store::{self, Status};

/// Puts a container on a network; one that runs at once.
pub fn connect(
    engine: &Engine,
    network: &str,
    container: &str,
    settings: Option<EndpointSettings>,
) -> Result<()> {
    let found = engine.networks.find(network)?;
    let (mut container, _lock) = rename::lock(engine, container)?;
    let Found::Bridge(network) = &found else { return Err(why_unreachable(&found)) };
    check_mode(&container)?;
    let settings = as_asked(settings.unwrap_or_default());
    let wanted = place(network, &settings)?;
    let mut endpoints = container.record.endpoints();
    let alive = runs(&container)?;
    if alive && endpoints.contains_key(&network.name) {
        return Err(Error::forbidden(format!(
            "endpoint with name {} already exists in network {}",
            container.record.name, network.name
        )));
    }
    endpoints.insert(network.name.clone(), settings.clone());
    container.record.networks = Some(endpoints);
    if alive {
        // Its shim reads them when it is told of the place.
        let links = links::all(&container.record);
        rewrite(&container, |plan| plan.links = links)?;
        let names = match network.name == DEFAULT {
            true => Vec::new(),
            false => names_of(&container.record, &settings),
        };
        Shim::connect(&container.dir)?.connect_network(&Place { names, ..wanted })?;
    }
    write(engine, &container)?;
    if alive {
        found.tell(engine.root.data(), "connect", Some(&container.record.id));
    }
    Ok(())
}

/// Takes a container off a network; one that runs at once. `force`: content if
/// there is no such container any more.
pub fn disconnect(engine: &Engine, network: &str, container: &str, force: bool) -> Result<()> {
    let found = engine.networks.find(network)?;
    let (mut container, _lock) = match rename::lock(engine, container) {
        // Whatever it has left on its networks.
        Err(_) if force => {
            return Ok(engine.networks.records()?.release(container)?);
        }
        locked => locked?,
    };
    let Found::Bridge(network) = &found else { return Err(why_unreachable(&found)) };
    check_mode(&container)?;
    let mut endpoints = container.record.endpoints();
    if endpoints.remove(&network.name).is_none() {
        return Err(Error::system(format!(
            "container {} is not connected to the network {}",
            container.record.id, network.name
        )));
    }
    let alive = runs(&container)?;
    if alive {
        Shim::connect(&container.dir)?.disconnect_network(&network.id)?;
    }
    container.record.networks = Some(endpoints);
    write(engine, &container)?;
    if alive {
        found.tell(engine.root.data(), "disconnect", Some(&container.record.id));
    }
    Ok(())
}

/// After a rename: the neighbours find it by its new name.
pub fn renamed(engine: &Engine, container: &Container) -> Result<()> {
    let records = engine.networks.records()?;
    let Container { record, .. } = container;
    for (name, settings) in record.endpoints().iter().filter(|(name, _)| *name != DEFAULT) {
        if let Ok(Found::Bridge(network)) = engine.networks.find(name) {
            records.rename(&network.id, &record.id, &names_of(record, settings))?;
        }
    }
    // Its shim may start it again by itself.
    tell_shim(engine, container)
}

fn check_mode(container: &Container) -> Result<()> {
    let mode = container.record.host_config.network_mode.as_deref().unwrap_or_default();
    if !is_bridge(mode) {
        return Err(why_fixed(mode));
    }
    match geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::forbidden(
            "an ordinary user's container has its own way out by pasta, and no other network",
        )),
    }
}

/// One that waits for its next start by itself will read then where it is to be.
fn runs(container: &Container) -> Result<bool> {
    Ok(matches!(container.state()?.status, Status::Running | Status::Paused))
}

/// The record, and what the shim reads at the next start.
fn write(engine: &Engine, container: &Container) -> Result<()> {
    let record: &Record = &container.record;
    store::write(&container.dir.record(), record, !record.auto_remove())?;
    tell_shim(engine, container)
}

/// Where it is to be, and as whom. Networks that are gone are told at the start.
fn tell_shim(engine: &Engine, container: &Container) -> Result<()> {
    let places = places(&engine.networks, &container.record).ok().flatten();
    rewrite(container, |plan| plan.places = places)
}
