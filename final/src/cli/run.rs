//! `run` and `create`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use ::images::cli::{ImageAndCommand, PullPolicy};
use anyhow::{Context, Result, bail};
use bollard_stubs::models::{
    ContainerCreateBody, ContainerCreateResponse, DeviceMapping, HostConfig,
    HostConfigCgroupnsModeEnum, PortBinding, PortMap, ResourcesUlimits, ThrottleDevice,
};
use cgroups::cli::{DeviceRate, LimitArgs};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use hyper::{Method, StatusCode};
use namespaces::cli::{RunArgs as LifeArgs, parse_env_file};
use rootfs::cli::{HostDevice, RootArgs};
use volumes::cli::VolumeArgs;

use super::attach::{self, View};
use super::connections::ConnectionArgs;
use super::id_file::IdFile;
use super::options::OptionArgs;
use super::supervision::SupervisionArgs;
use super::{images, mounts, out};
use crate::client::{Client, Refused, encode};

/// What a container is made of: the flags of all six lessons, and the engine's own.
#[derive(Debug, Args)]
#[group(id = "create")]
#[command(mut_arg("workdir", |arg| arg.value_parser(perhaps_empty())))]
#[command(mut_arg("pid", |arg| mode(arg, "host|container:NAME")))]
#[command(mut_arg("ipc", |arg| mode(arg, "none|private|shareable|container:NAME|host")))]
pub struct CreateArgs {
    /// The process, and its namespaces.
    #[command(flatten)]
    life: LifeArgs,
    /// Limits.
    #[command(flatten)]
    limits: LimitArgs,
    /// The root.
    #[command(flatten)]
    root: RootArgs,
    /// The network.
    #[command(flatten)]
    network: ConnectionArgs,
    /// Volumes.
    #[command(flatten)]
    volumes: VolumeArgs,
    /// What is done when it ends, or is not well.
    #[command(flatten)]
    supervision: SupervisionArgs,
    /// What the engine adds.
    #[command(flatten)]
    engine: EngineArgs,
    /// Rights, and the rest.
    #[command(flatten)]
    options: OptionArgs,
    /// The image, and the program in it.
    #[command(flatten)]
    what: ImageAndCommand,
}

/// The flags that no lesson has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// A name for the container.
    #[arg(long)]
    name: Option<String>,
    /// Remove the container when it ends.
    #[arg(long)]
    rm: bool,
    /// Another program than the image's; empty for none.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Write the container's id to this file.
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// When to download the image.
    #[arg(long, value_enum, default_value_t)]
    pull: PullPolicy,
    /// The platform, as os/architecture[/variant], of an image that has several.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Do not tell how the download goes.
    #[arg(short, long)]
    quiet: bool,
    /// A resource limit: nofile=1024:2048.
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// The signal that `stop` asks with.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until `stop` kills.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
}

/// `run`: what `create` takes, and how to be with it.
#[derive(Debug, Args)]
#[group(id = "run")]
pub struct RunArgs {
    /// Run in the background, and print the id.
    #[arg(short, long)]
    detach: bool,
    /// Join only these streams: stdin, stdout, stderr.
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"],
          ignore_case = true)]
    attach: Vec<String>,
    /// What becomes of our signals.
    #[command(flatten)]
    signals: attach::SignalArgs,
    /// The keys that leave its terminal, and let it go on.
    #[arg(long, value_name = "KEYS", default_value = "")]
    detach_keys: String,
    /// Everything else.
    #[command(flatten)]
    create: CreateArgs,
}

/// Where the lessons only know the host, the engine knows other containers too.
fn mode(arg: clap::Arg, modes: &'static str) -> clap::Arg {
    arg.value_parser(clap::value_parser!(String)).value_name(modes)
}

/// A path, or nothing, which means that none is asked for: `-w "$FOLDER"`.
fn perhaps_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `coracle create`
pub async fn create(client: &Client, args: CreateArgs) -> Result<ExitCode> {
    let body = args.body(&[])?;
    out::line(make(client, &args, body).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// `coracle run`
pub async fn run(client: &Client, args: RunArgs) -> Result<ExitCode> {
    let process = &args.create.life.process;
    if args.detach && !args.attach.is_empty() {
        bail!("conflicting options: --attach and --detach");
    }
    if !args.detach {
        attach::require_terminal(process.tty && process.interactive)?;
    }
    let body = args.create.body(&args.streams())?;
    let tty = process.tty;
    let _ahead = client.expect_start();
    let id = make(client, &args.create, body).await?;
    let result = if args.detach {
        attach::start(client, &id, process.explain).await.map(|()| ExitCode::SUCCESS)
    } else {
        attach::start_and_stay(client, &id, tty, args.view()).await
    };
    if result.is_ok() && args.detach {
        out::line(&id)?;
    }
    match &result {
        // Its output is still kept, and it still goes when it ends, if it was to.
        Err(error) if error.is::<out::Closed>() => {
            out::tell(format!(
                "coracle: standard output is closed; container {} goes on",
                &id[..12]
            ));
        }
        // A container that was to go when it ends, goes also when it could not start.
        Err(_) if args.create.engine.rm => {
            let _ = client.delete(&format!("/containers/{id}?force=1&v=1")).await;
        }
        _ => {}
    }
    result
}

impl RunArgs {
    fn streams(&self) -> Vec<&str> {
        if self.detach {
            return Vec::new();
        }
        if self.attach.is_empty() {
            let stdin = self.create.life.process.interactive.then_some("stdin");
            return stdin.into_iter().chain(["stdout", "stderr"]).collect();
        }
        let streams = ["stdin", "stdout", "stderr"].into_iter();
        let wanted = |stream: &&str| self.attach.iter().any(|own| own.eq_ignore_ascii_case(stream));
        streams.filter(wanted).collect()
    }

    fn view(&self) -> View {
        let streams = self.streams();
        View {
            stdin: streams.contains(&"stdin") && self.create.life.process.interactive,
            stdout: streams.contains(&"stdout"),
            stderr: streams.contains(&"stderr"),
            signals: self.signals.sig_proxy,
            removed: self.create.engine.rm,
            explain: self.create.life.process.explain,
            detach_keys: self.detach_keys.clone(),
        }
    }
}

/// Creates the container, and pulls its image first where it must.
async fn make(client: &Client, args: &CreateArgs, body: ContainerCreateBody) -> Result<String> {
    let engine = &args.engine;
    let id_file = engine.cidfile.as_deref().map(IdFile::create).transpose()?;
    let query = [("name", &engine.name), ("platform", &engine.platform)].into_iter();
    let query = query.filter_map(|(key, value)| Some(format!("{key}={}", encode(value.as_ref()?))));
    let path = format!("/containers/create?{}", query.collect::<Vec<_>>().join("&"));
    if engine.pull == PullPolicy::Always {
        images::download(client, args.what.image()?, engine.platform.as_deref(), engine.quiet)
            .await?;
    }
    let created: Result<ContainerCreateResponse> =
        client.call(Method::POST, &path, Some(&body)).await;
    let created = match created {
        Err(error) if engine.pull == PullPolicy::Missing && is_missing_image(&error) => {
            if !engine.quiet {
                let image = args.what.image()?;
                out::tell(format!("Unable to find image '{image}' locally"));
            }
            images::download(client, args.what.image()?, engine.platform.as_deref(), engine.quiet)
                .await?;
            client.call(Method::POST, &path, Some(&body)).await?
        }
        other => other?,
    };
    created.warnings.iter().for_each(|warning| out::tell(format!("WARNING: {warning}")));
    if let Some(file) = id_file
        && let Err(error) = file.fill(&created.id)
    {
        // Whoever wanted to know it by its id has no use for it.
        let _ = client.delete(&format!("/containers/{}?v=1", created.id)).await;
        return Err(error);
    }
    Ok(created.id)
}

fn is_missing_image(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| {
        let says = |start| refused.message.starts_with(start);
        refused.status == StatusCode::NOT_FOUND
            && (says("No such image") || says("image with reference"))
    })
}

/// `-e` and `--env-file`: as they are given, a bare name with the value it has here.
///
/// A bare name without a value here stays bare: it takes the image's variable out.
pub fn environment(given: &[OsString], files: &[PathBuf]) -> Result<Vec<String>> {
    let with_value = |key: String| match std::env::var(&key) {
        Ok(value) => format!("{key}={value}"),
        Err(_) => key,
    };
    let mut env = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("read the environment file {}", file.display()))?;
        for (key, value) in parse_env_file(&text).with_context(|| file.display().to_string())? {
            env.push(
                value.map(|value| format!("{key}={value}")).unwrap_or_else(|| with_value(key)),
            );
        }
    }
    for variable in given {
        let variable = variable.to_str().context("an environment variable is not UTF-8")?;
        match variable.split_once('=') {
            Some(("", _)) => bail!("invalid environment variable: {variable}"),
            None if variable.is_empty() => bail!("invalid environment variable: ''"),
            Some(_) => env.push(variable.to_owned()),
            None => env.push(with_value(variable.to_owned())),
        }
    }
    Ok(env)
}

/// `nofile=1024:2048`
fn ulimit(text: &str) -> Result<ResourcesUlimits> {
    let wrong = || {
        anyhow::anyhow!("invalid ulimit '{text}': write NAME=SOFT[:HARD], such as nofile=1024:2048")
    };
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number =
        |text: &str| if text == "unlimited" { Ok(-1) } else { text.parse().map_err(|_| wrong()) };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard >= 0 && soft > hard {
        bail!("invalid ulimit '{text}': the soft limit is above the hard one");
    }
    Ok(ResourcesUlimits { name: Some(name.into()), soft: Some(soft), hard: Some(hard) })
}

fn rates<const BYTES: bool>(rates: &[DeviceRate<BYTES>]) -> Option<Vec<ThrottleDevice>> {
    let rate = |rate: &DeviceRate<BYTES>| ThrottleDevice {
        path: Some(rate.path.display().to_string()),
        rate: Some(rate.rate as i64),
    };
    (!rates.is_empty()).then(|| rates.iter().map(rate).collect())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

impl CreateArgs {
    /// What the API is asked for.
    fn body(&self, attached: &[&str]) -> Result<ContainerCreateBody> {
        let (life, process) = (&self.life, &self.life.process);
        let stdin = attached.contains(&"stdin");
        let entrypoint = self.engine.entrypoint.as_ref().map(|program| vec![program.clone()]);
        let exposed = self.exposed_ports()?;
        Ok(ContainerCreateBody {
            hostname: life.hostname.clone(),
            domainname: life.domainname.clone(),
            user: process.user.as_ref().map(ToString::to_string),
            attach_stdin: Some(stdin),
            attach_stdout: Some(attached.contains(&"stdout")),
            attach_stderr: Some(attached.contains(&"stderr")),
            exposed_ports: some(exposed),
            tty: Some(process.tty),
            open_stdin: Some(process.interactive),
            stdin_once: Some(process.interactive && stdin),
            env: Some(environment(&process.env, &process.env_file)?),
            cmd: some(self.command()?),
            entrypoint,
            image: Some(self.what.image()?.to_owned()),
            volumes: some(mounts::binds(&self.volumes)?.1),
            working_dir: process.workdir.as_ref().map(|dir| dir.display().to_string()),
            labels: Some(self.options.labels()?),
            stop_signal: self.engine.stop_signal.clone(),
            stop_timeout: self.engine.stop_timeout,
            healthcheck: self.supervision.health_config()?,
            host_config: Some(self.host_config()?),
            networking_config: self.network.config()?,
            ..Default::default()
        })
    }

    fn host_config(&self) -> Result<HostConfig> {
        let (life, limits, engine) = (&self.life, &self.limits, &self.engine);
        let bytes = |value: Option<u64>| value.map(|value| value as i64);
        let ulimits = engine.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        let mut host = HostConfig {
            oom_kill_disable: Some(limits.oom_kill_disable),
            memory: bytes(limits.memory),
            memory_swap: limits.memory_swap,
            memory_reservation: bytes(limits.memory_reservation),
            memory_swappiness: limits.memory_swappiness,
            nano_cpus: bytes(limits.cpus),
            cpu_period: bytes(limits.cpu_period),
            cpu_quota: limits.cpu_quota,
            cpu_shares: bytes(limits.cpu_shares),
            cpuset_cpus: limits.cpuset_cpus.clone(),
            cpuset_mems: limits.cpuset_mems.clone(),
            pids_limit: limits.pids_limit,
            blkio_weight: limits.blkio_weight,
            blkio_device_read_bps: rates(&limits.device_read_bps),
            blkio_device_write_bps: rates(&limits.device_write_bps),
            blkio_device_read_iops: rates(&limits.device_read_iops),
            blkio_device_write_iops: rates(&limits.device_write_iops),
            device_cgroup_rules: some(
                limits.device_cgroup_rule.iter().map(|rule| rule.to_string()).collect(),
            ),
            cgroup_parent: Some(limits.cgroup_parent.clone()).filter(|parent| parent != "coracle"),
            readonly_rootfs: Some(self.root.read_only),
            network_mode: self.network.mode(),
            port_bindings: Some(self.port_bindings()?),
            publish_all_ports: Some(self.network.reach.publish_all),
            dns: some(self.network.reach.dns.iter().map(|ip| ip.to_string()).collect()),
            dns_search: some(self.network.reach.dns_search.clone()),
            dns_options: some(self.network.reach.dns_option.clone()),
            extra_hosts: some(
                self.network.reach.add_host.iter().map(|host| host.to_string()).collect(),
            ),
            binds: some(mounts::binds(&self.volumes)?.0),
            mounts: some(mounts::mounts(&self.volumes)?),
            tmpfs: mounts::tmpfs(&self.volumes)?,
            restart_policy: Some(self.supervision.restart_policy()),
            auto_remove: Some(engine.rm),
            init: life.init.then_some(true),
            pid_mode: life.pid.clone(),
            ipc_mode: life.ipc.clone(),
            uts_mode: life.uts.clone(),
            userns_mode: life.userns.clone(),
            cgroupns_mode: self.cgroupns(),
            devices: some(self.devices()),
            ulimits: some(ulimits),
            shm_size: bytes(self.root.shm_size),
            console_size: life.process.tty.then(attach::console_size).flatten(),
            ..Default::default()
        };
        self.options.apply(&mut host)?;
        Ok(host)
    }

    fn command(&self) -> Result<Vec<String>> {
        let text = |word: &OsString| word.to_str().map(str::to_owned);
        let words: Option<Vec<_>> = self.what.command().iter().map(text).collect();
        words.context("the command is not UTF-8")
    }

    fn devices(&self) -> Vec<DeviceMapping> {
        let device = |device: &HostDevice| DeviceMapping {
            path_on_host: Some(device.source.display().to_string()),
            path_in_container: Some(device.path.display().to_string()),
            cgroup_permissions: Some(device.access.to_string()),
        };
        self.root.devices.iter().map(device).collect()
    }

    fn cgroupns(&self) -> Option<HostConfigCgroupnsModeEnum> {
        self.life.cgroupns.as_ref().map(|mode| match mode.as_str() {
            "host" => HostConfigCgroupnsModeEnum::HOST,
            _ => HostConfigCgroupnsModeEnum::PRIVATE,
        })
    }

    /// `--expose`, and what `-p` names.
    fn exposed_ports(&self) -> Result<Vec<String>> {
        let network = &self.network.reach;
        let mut ports = Vec::new();
        for spec in &network.expose {
            ports.extend(networking::parse_expose(spec)?);
        }
        for spec in &network.publish {
            let published = networking::parse_publish(spec)?;
            ports.extend(published.iter().map(|port| (port.container, port.protocol)));
        }
        let mut ports: Vec<_> =
            ports.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
        ports.sort();
        ports.dedup();
        Ok(ports)
    }

    fn port_bindings(&self) -> Result<PortMap> {
        let mut map: PortMap = HashMap::new();
        for spec in &self.network.reach.publish {
            for port in networking::parse_publish(spec)? {
                let host_port = match port.host {
                    (0, 0) => String::new(),
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first}-{last}"),
                };
                let host_ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
                let binding = PortBinding { host_ip: Some(host_ip), host_port: Some(host_port) };
                let bindings =
                    map.entry(format!("{}/{}", port.container, port.protocol)).or_default();
                bindings.get_or_insert_default().push(binding);
            }
        }
        Ok(map)
    }
}
