//! Links: a name of the container's own for another, which nobody else knows.
//!
//! On networks that users make, the container's name server answers for them; on the
//! default network, where nobody has a name, `/etc/hosts` does. The variables that
//! Docker sets beside them are not set.

use networking::DEFAULT;

use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::engine::record::Record;
use crate::runtime::Link;

/// All links of a container, as they were asked for: of its own, and of its places.
pub fn all(record: &Record) -> Vec<Link> {
    let endpoints = record.endpoints();
    let of_places = endpoints.values().flat_map(|place| place.links.iter().flatten());
    let mut links: Vec<_> =
        record.host_config.links.iter().flatten().chain(of_places).map(|text| read(text)).collect();
    links.sort();
    links.dedup();
    links
}

/// `CONTAINER`, or `CONTAINER:NAME`, each perhaps written as a path, as `inspect` does.
fn read(text: &str) -> Link {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (container, name) = text.split_once(':').unwrap_or((text, text));
    let mut container = last(container);
    // The neighbours know the beginning of an id.
    if container.len() == 64 && container.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        container.truncate(12);
    }
    Link { container, name: last(name) }
}

/// Whether everybody who is linked to is there.
///
/// # Errors
/// Docker's, for one who is not.
pub fn check(engine: &Engine, links: &[String]) -> Result<()> {
    for link in links.iter().map(|text| read(text)) {
        if engine.containers.find(&link.container).is_err() {
            return Err(Error::bad_parameter(format!(
                "could not get container for {0}: No such container: {0}",
                link.container
            )));
        }
    }
    Ok(())
}

/// Those who are linked to on the default network, by their ids, each with all the names
/// that it has in `/etc/hosts`.
///
/// # Errors
/// One of them does not run.
pub fn on_default(engine: &Engine, record: &Record) -> Result<Vec<Link>> {
    if !record.endpoints().contains_key(DEFAULT) {
        return Ok(Vec::new());
    }
    let records = engine.networks.records()?;
    let leases = records.glance(&records.find(DEFAULT)?.id);
    let mut linked = Vec::new();
    for text in record.host_config.links.iter().flatten() {
        let Link { container, name } = read(text);
        let other = engine.containers.find(&container)?.record;
        if !leases.iter().any(|lease| lease.container == other.id) {
            return Err(Error::conflict(format!(
                "Cannot link to a non running container: /{} AS /{}/{name}",
                other.name, record.name
            )));
        }
        for name in [name, other.id[..12].to_owned(), other.name] {
            linked.push(Link { container: other.id.clone(), name });
        }
    }
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_written_in_many_ways() {
        let read = |text| {
            let Link { container, name } = read(text);
            format!("{container} as {name}")
        };
        let ways = ["db", "db:store", "/db:/web/store", "/db"];
        assert_eq!(ways.map(read), ["db as db", "db as store", "db as store", "db as db"]);
    }
}
