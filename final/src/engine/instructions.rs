//! What the shim is told beside the OCI configuration.

use std::path::PathBuf;

use bollard_stubs::models::HostConfig;
use networking::files::Names;
use networking::{Mode, Port, parse_publish, publish_all};
use oci_spec::runtime::Mount;

use super::containers::{Container, Containers};
use super::error::{Error, Result};
use super::networks::exposed;
use super::record::Record;
use super::spec;
use super::volumes::Resolved;
use super::{Engine, devices, log_options, network};
use crate::runtime::{AutoRemove, Instructions, NetworkPlan, Session};
use crate::store::{self, State};

/// The container's network, and the mounts of another container's files if it is that
/// one's. (Its own are the shim's to write.)
pub fn network(record: &Record, engine: &Engine) -> Result<(NetworkPlan, Vec<Mount>)> {
    let (root, containers) = (&engine.root, &engine.containers);
    let host = &record.host_config;
    let mode: Mode = host.network_mode.as_deref().unwrap_or("bridge").parse()?;
    let other = match &mode {
        Mode::Container(name) if *name == record.name => {
            return Err(Error::bad_parameter("cannot join own network namespace"));
        }
        Mode::Container(name) => Some(containers.find(name)?.record.id),
        _ => None,
    };
    let plan = NetworkPlan {
        ports: ports(record)?,
        hostname: record.config.hostname.clone().unwrap_or_default(),
        names: names(host)?,
        root: root.data().to_owned(),
        join: None,
        // A network that is not there is told at the start.
        places: network::places(&engine.networks, record).ok().flatten(),
        links: network::links(record),
        linked: Vec::new(),
        mode,
    };
    let Some(other) = other else { return Ok((plan, Vec::new())) };
    let folder = root.container(&other);
    let files = ["resolv.conf", "hostname", "hosts"].map(|file| (folder.path().join(file), file));
    let there = files.into_iter().filter(|(path, _)| path.exists());
    let read_only = host.readonly_rootfs == Some(true);
    let mount = |(path, file)| spec::file_mount(path, &format!("/etc/{file}"), read_only);
    let mounts = there.map(mount);
    Ok((plan, mounts.collect()))
}

/// Before a start: finds the process whose network `container:NAME` means now.
pub fn find_joined(containers: &Containers, container: &Container) -> Result<()> {
    let mode = container.record.host_config.network_mode.as_deref().unwrap_or_default();
    let Some(name) = mode.strip_prefix("container:") else { return Ok(()) };
    let State { pid, .. } = running(&containers.find(name)?)?;
    let path = container.dir.instructions();
    let Some(mut instructions) = store::read::<Instructions>(&path)? else { return Ok(()) };
    if let Some(network) = &mut instructions.network {
        network.join = Some(pid as u32);
    }
    Ok(store::write(&path, &instructions, false)?)
}

fn running(container: &Container) -> Result<State> {
    let state = container.state()?;
    if state.is_alive() {
        return Ok(state);
    }
    Err(Error::conflict(format!(
        "cannot join network of a non running container: {}",
        container.record.name
    )))
}

fn ports(record: &Record) -> Result<Vec<Port>> {
    let host = &record.host_config;
    let mut ports = Vec::new();
    let mut bindings: Vec<_> = host.port_bindings.iter().flatten().collect();
    bindings.sort_by_key(|(container, _)| *container);
    for (container, bindings) in bindings {
        for binding in bindings.iter().flatten() {
            let ip = binding.host_ip.as_deref().unwrap_or("");
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let port = binding.host_port.as_deref().unwrap_or("");
            let port = if port == "0" { "" } else { port };
            let spec = match ip.is_empty() {
                true => format!("{port}:{container}"),
                false => format!("{ip}:{port}:{container}"),
            };
            let wrong = |error: namespaces::Error| Error::bad_parameter(error.to_string());
            ports.extend(parse_publish(spec.trim_start_matches(':')).map_err(wrong)?);
        }
    }
    if host.publish_all_ports == Some(true) {
        ports.extend(publish_all(&ports, &exposed(record)));
    }
    Ok(ports)
}

/// What is said about other names.
pub fn names(host: &HostConfig) -> Result<Names> {
    let bad = |error: namespaces::Error| Error::bad_parameter(error.to_string());
    let servers = host.dns.iter().flatten().map(|server| {
        let wrong = |_| {
            Error::bad_parameter(format!("invalid DNS server \"{server}\": it is no IP address"))
        };
        server.parse().map_err(wrong)
    });
    let hosts = host.extra_hosts.iter().flatten().map(|host| host.parse().map_err(bad));
    Ok(Names {
        servers: servers.collect::<Result<_>>()?,
        search: host.dns_search.clone().unwrap_or_default(),
        options: host.dns_options.clone().unwrap_or_default(),
        hosts: hosts.collect::<Result<_>>()?,
    })
}

/// Everything else.
pub fn instructions(
    record: &Record,
    layers: Vec<PathBuf>,
    volumes: Resolved,
    network: NetworkPlan,
) -> Result<Instructions> {
    let (config, host) = (&record.config, &record.host_config);
    Ok(Instructions {
        layers,
        volatile: record.auto_remove(),
        copy_up: volumes.copy_up,
        subpaths: volumes.subpaths,
        devices: devices::sources(host)?,
        network: Some(network),
        partners: Vec::new(),
        log: log_options::of(record)?,
        no_log: !record.keeps_log(),
        auto_remove: record.auto_remove().then(|| AutoRemove { name: record.name.clone() }),
        init: host.init.unwrap_or(false),
        session: Session {
            open_stdin: config.open_stdin.unwrap_or(false),
            stdin_once: config.stdin_once.unwrap_or(false),
            tty_size: spec::console_size(host.console_size.as_deref()),
            user: config.user.clone().unwrap_or_default(),
            groups: host.group_add.clone().unwrap_or_default(),
        },
    })
}
