//! Creating a container: from what is asked for to records that the shim can run.

use std::path::{Path, PathBuf};

use bollard_stubs::models::{ContainerConfig, ContainerCreateBody, HostConfig, NetworkingConfig};
use images::{Image, ImageConfig, Platform, RunConfig};
use namespaces::userns;
use networking::Pasta;

use super::error::{Error, Result};
use super::names::{self, random_hex};
use super::record::Record;
use super::{
    Engine, health, instructions, modes, network, refusals, restart, spec, sweep, time,
    volumes_from,
};
use crate::runtime;
use crate::store::{self, ContainerDir, Held};

/// Creates a container. Its id, and what the user should be warned of.
///
/// # Errors
/// Whatever makes no sense, is not there or is taken; nothing is left then.
pub fn create(
    engine: &Engine,
    name: Option<&str>,
    platform: Option<&str>,
    body: ContainerCreateBody,
) -> Result<(String, Vec<String>)> {
    let (mut config, mut host, networking) = take_apart(body);
    let mut warnings: Vec<_> = choose_network(&mut host).into_iter().collect();
    warnings.extend(network::check_mode(&config, &host)?);
    let networks = network::configure(&engine.networks, &mut host, networking)?;
    warnings.extend(refusals::check(&config, &host)?);
    network::check_links(engine, host.links.as_deref().unwrap_or_default())?;
    restart::check_policy(&host)?;
    modes::check(&config, &host)?;
    let wanted = config.image.clone().unwrap_or_default();
    if wanted.is_empty() {
        return Err(Error::bad_parameter("no image specified"));
    }
    let image = engine.images.find(&wanted)?;
    warnings.extend(check_platform(&image, &wanted, platform)?);
    complete(&mut config, &image.config.config);
    health::complete(&mut config.healthcheck, image.config.config.healthcheck.as_ref())?;
    let args = arguments(&config, &wanted)?;
    let id = random_hex(32)?;
    if config.hostname.as_deref().unwrap_or("").is_empty()
        && !modes::shares_host(host.uts_mode.as_deref())
    {
        config.hostname = Some(id[..12].to_owned());
    }
    sweep::sweep(engine);
    let dir = engine.root.container(&id);
    let record = Record {
        name: String::new(),
        created: time::now(),
        image_id: image.id.to_string(),
        id,
        config,
        host_config: host,
        args,
        mounts: Vec::new(),
        networks,
    };
    let mut making = Making { engine, dir, record, name: None, done: false };
    making.take_name(name)?;
    making.write(&image)?;
    making.done = true;
    warnings.extend(unheard_mounts(&making.record));
    engine.events.tell_container(&making.dir, "create", &[]);
    Ok((making.record.id.clone(), warnings))
}

/// What is said to an ordinary user who wants later mounts of the host to be seen inside.
/// The kernel copies a mount with its ties only for who may mount where the original is.
fn unheard_mounts(record: &Record) -> Option<String> {
    let is_tied = |word: &str| word.ends_with("slave") || word.ends_with("shared");
    let mut ties = record.mounts.iter().filter_map(|mount| mount.propagation.as_deref());
    let word = ties.find(|word| is_tied(word)).filter(|_| userns::needed())?;
    Some(format!(
        "{word} has no effect: what is mounted later on the host is not seen in an ordinary \
         user's container"
    ))
}

/// Whether the image is what was asked for, and what this machine can run.
fn check_platform(image: &Image, name: &str, wanted: Option<&str>) -> Result<Option<String>> {
    let ImageConfig { os, architecture, variant, .. } = image.config.clone();
    let (found, host) = (Platform { os, architecture, variant }, Platform::host());
    // An image that does not say it, as some tools write them, is taken at its word.
    if found.architecture.is_empty() {
        return Ok(None);
    }
    match wanted {
        Some(text) => {
            let wanted: Platform = text
                .parse()
                .map_err(|error: images::Error| Error::bad_parameter(error.to_string()))?;
            match wanted.fit(&found) {
                Some(_) => Ok(None),
                None => Err(Error::not_found(format!(
                    "image with reference {name} was found but does not match the specified platform: \
                     wanted {}, actual: {}",
                    wanted, found
                ))),
            }
        }
        None if host.fit(&found).is_none() => Ok(Some(format!(
            "The requested image's platform ({}) does not match the detected host platform ({}) \
             and no specific platform was requested",
            found, host
        ))),
        None => Ok(None),
    }
}

/// Takes a name for a container, also from one whose making was killed.
pub fn take_name(engine: &Engine, name: &str, id: &str) -> Result<Held> {
    loop {
        match engine.root.names().take(name, id)? {
            Ok(held) => return Ok(held),
            Err(_) if sweep::free_name(engine, name) => {}
            Err(taken) => return Err(names::taken(name, &taken.by)),
        }
    }
}

/// A container in the making: dropped before it is done, nothing of it is left.
struct Making<'a> {
    engine: &'a Engine,
    dir: ContainerDir,
    record: Record,
    /// Until it is there.
    name: Option<Held>,
    done: bool,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.engine.volumes.release(&self.record.id, true);
            let _ = std::fs::remove_dir_all(self.dir.path());
            let _ = self.engine.root.names().release(&self.record.name, &self.record.id);
        }
    }
}

impl Making<'_> {
    /// The name that is asked for, or a random one that is free.
    fn take_name(&mut self, wanted: Option<&str>) -> Result<()> {
        if let Some(name) = wanted {
            let name = name.strip_prefix('/').unwrap_or(name);
            names::check(name)?;
            self.name = Some(take_name(self.engine, name, &self.record.id)?);
            self.record.name = name.to_owned();
            return Ok(());
        }
        loop {
            let bits = u64::from_str_radix(&random_hex(8)?, 16).expect("16 hexadecimal digits");
            let name = names::random(bits);
            if let Ok(held) = self.engine.root.names().take(&name, &self.record.id)? {
                self.name = Some(held);
                self.record.name = name;
                return Ok(());
            }
        }
    }

    /// Everything that the shim will read.
    fn write(&mut self, image: &Image) -> Result<()> {
        let layers = self.engine.images.layers(image)?;
        self.dir.create()?;
        let more = volumes_from::specs(&self.record.host_config, &self.engine.containers)?;
        let volumes = self.engine.volumes.resolve(&self.record, more, &image.config.config)?;
        let partners = modes::partners(&self.record.host_config, &self.engine.containers)?;
        self.record.mounts = volumes.points.clone();
        // Not before: another container's volumes go before the image's.
        let wanted = &image.config.config.volumes;
        if !wanted.is_empty() {
            let known = self.record.config.volumes.get_or_insert_default();
            known.extend(wanted.iter().cloned());
            known.sort();
            known.dedup();
        }
        let (network, files) = instructions::network(&self.record, self.engine)?;
        let cgroup = cgroup_path(&self.record);
        let spec = spec::spec(&self.record, &cgroup, volumes.mounts.clone(), files)?;
        if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
        {
            runtime::check_limits(resources)?;
        }
        runtime::check_sysctls(&spec).map_err(|error| Error::bad_parameter(error.to_string()))?;
        let durable = !self.record.auto_remove();
        let config = serde_json::to_vec(&spec)
            .map_err(|error| Error::system(format!("write config.json: {error}")))?;
        store::write_atomic(&self.dir.config(), &config, durable)?;
        let mut instructions = instructions::instructions(&self.record, layers, volumes, network)?;
        instructions.partners = partners;
        store::write(&self.dir.instructions(), &instructions, durable)?;
        // Last, for a folder without this record is no container.
        store::write(&self.dir.record(), &self.record, durable)?;
        Ok(())
    }
}

/// Where the container's cgroup is: below the parent that was asked for, or else at the
/// top. A folder above it, for it alone, would have to be made and removed with it.
fn cgroup_path(record: &Record) -> PathBuf {
    let parent = record.host_config.cgroup_parent.as_deref().unwrap_or_default();
    match parent.trim_matches('/') {
        "" => format!("coracle-{}", record.id).into(),
        parent => Path::new(parent).join(&record.id),
    }
}

/// The API's body is Docker's `Config` with `HostConfig` in it.
pub fn take_apart(
    mut body: ContainerCreateBody,
) -> (ContainerConfig, HostConfig, Option<NetworkingConfig>) {
    let host = body.host_config.take().unwrap_or_default();
    let networking = body.networking_config.take();
    let config = ContainerConfig {
        hostname: body.hostname,
        domainname: body.domainname,
        user: body.user,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        exposed_ports: body.exposed_ports,
        tty: body.tty,
        open_stdin: body.open_stdin,
        stdin_once: body.stdin_once,
        env: body.env,
        cmd: body.cmd,
        healthcheck: body.healthcheck,
        args_escaped: body.args_escaped,
        image: body.image,
        volumes: body.volumes,
        working_dir: body.working_dir,
        entrypoint: body.entrypoint,
        network_disabled: body.network_disabled,
        on_build: None,
        labels: body.labels,
        stop_signal: body.stop_signal,
        stop_timeout: body.stop_timeout,
        shell: body.shell,
    };
    (config, host, networking)
}

/// Puts a network in the place of none in particular: the bridge. Where an ordinary
/// user cannot have that, and asks for nothing that needs it, no network at all, and
/// a warning.
fn choose_network(host: &mut HostConfig) -> Option<String> {
    let publishes = host.publish_all_ports == Some(true)
        || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let mode = host.network_mode.get_or_insert_default();
    if !mode.is_empty() && mode != "default" {
        return None;
    }
    *mode = networking::DEFAULT.into();
    let why = Pasta::usable().err().filter(|_| userns::needed() && !publishes)?;
    *mode = "none".into();
    Some(format!("the container has no network: {why}"))
}

/// The image's configuration, where the user has none.
fn complete(config: &mut ContainerConfig, image: &RunConfig) {
    let text = |value: &mut Option<String>, default: &str| {
        if value.as_deref().unwrap_or("").is_empty() && !default.is_empty() {
            *value = Some(default.to_owned());
        }
    };
    text(&mut config.user, &image.user);
    text(&mut config.working_dir, &image.working_dir);
    if let Some(signal) = &image.stop_signal {
        text(&mut config.stop_signal, signal);
    }
    // The user's own come first, as Docker tells them.
    let env = config.env.get_or_insert_default();
    let key = |variable: &str| variable.split('=').next().map(str::to_owned);
    let given: Vec<_> = env.iter().map(|variable| key(variable)).collect();
    env.extend(image.env.iter().filter(|own| !given.contains(&key(own))).cloned());
    config.env = config.env.take().filter(|env| !env.is_empty());
    // Docker's rule: an entrypoint of the user's own discards the image's command.
    if config.entrypoint.is_none() {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = image.cmd.clone();
        }
        config.entrypoint = image.entrypoint.clone();
    } else if config
        .entrypoint
        .as_ref()
        .is_some_and(|entrypoint| matches!(entrypoint.as_slice(), [one] if one.is_empty()))
    {
        config.entrypoint = None;
    }
    let labels = config.labels.get_or_insert_default();
    for (key, value) in &image.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let exposed = config.exposed_ports.get_or_insert_default();
    exposed.extend(image.exposed_ports.iter().cloned());
    exposed.sort();
    exposed.dedup();
    if exposed.is_empty() {
        config.exposed_ports = None;
    }
}

fn arguments(config: &ContainerConfig, image: &str) -> Result<Vec<String>> {
    let entrypoint = config.entrypoint.iter().flatten();
    let args: Vec<_> = entrypoint.chain(config.cmd.iter().flatten()).cloned().collect();
    if args.is_empty() {
        return Err(Error::bad_parameter(format!(
            "no command specified: image {image} names none; write one after the image"
        )));
    }
    Ok(args)
}
