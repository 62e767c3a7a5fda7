//! What `inspect` shows of a container, in Docker's shape.
//!
//! Fields that are not here are completed by [`crate::shape`]; what a host
//! configuration leaves open is told as it was decided.

use bollard_stubs::models::HostConfig;
use serde_json::{Value as Json, json};

use super::containers::Container;
use super::error::Result;
use super::listing::folder_size;
use super::networks::Places;
use super::record::Record;
use super::{Engine, status};
use crate::runtime::{Instructions, default_spec};
use crate::store::{self, State};

/// Docker's name of what stacks our layers.
pub const DRIVER: &str = "overlay2";

/// How much shared memory a container has, where nobody says otherwise.
const SHM_SIZE: i64 = 64 << 20;

/// Everything that is known of a container; `size` also of what it has written.
///
/// # Errors
/// There is no such container.
pub fn inspect(engine: &Engine, name: &str, size: bool) -> Result<Json> {
    let container = engine.containers.find(name)?;
    let state = container.state()?;
    let record = &container.record;
    let written = size.then(|| folder_size(&container.dir.upper()));
    let below = || engine.images.below(&record.image_id).map_or(0, |image| image.size);
    let mut config = to_json(&record.config);
    config["Labels"] = json!(record.config.labels.clone().unwrap_or_default());
    let file = |name: &str| {
        let path = container.dir.path().join(name);
        if path.exists() { path.display().to_string() } else { String::new() }
    };
    let mut settings = to_json(&Places::read(&engine.root)?.settings(record, &state));
    if !state.is_alive() {
        settings["Ports"] = json!({});
    }
    settings["SandboxKey"] = json!(network_namespace(record, &state));
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.args.first(),
        "Args": record.args.get(1..).unwrap_or_default(),
        "State": status::inspected(&state),
        "Image": record.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": container.dir.log().display().to_string(),
        "Name": format!("/{}", record.name),
        "RestartCount": status::restart_count(&state),
        "Driver": DRIVER,
        "Platform": "linux",
        "ExecIDs": exec_ids(&container),
        "HostConfig": host_config(&record.host_config),
        "GraphDriver": { "Name": DRIVER, "Data": layers(&container)? },
        "SizeRw": written,
        "SizeRootFs": written.map(|written| written + below()),
        "Mounts": record.mounts,
        "Config": config,
        "NetworkSettings": network_settings(settings),
    }))
}

/// The file of the network namespace that a container has of its own, while it runs.
/// Docker mounts such a file elsewhere; ours is the kernel's.
fn network_namespace(record: &Record, state: &State) -> String {
    let mode = record.host_config.network_mode.as_deref().unwrap_or_default();
    let shared = mode == "host" || mode.starts_with("container:");
    match state.pid {
        0 => String::new(),
        _ if shared || !state.is_alive() => String::new(),
        pid => format!("/proc/{pid}/ns/net"),
    }
}

fn to_json(value: &impl serde::Serialize) -> Json {
    serde_json::to_value(value).expect("plain data")
}

/// The additional processes that run; null without any.
fn exec_ids(container: &Container) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(container.dir.path().join("execs")).ok()?.flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let runs = |id: &String| container.dir.exec(id).state().is_ok_and(|state| state.is_alive());
    let ids: Vec<_> = ids.filter(runs).collect();
    (!ids.is_empty()).then_some(ids)
}

/// The folders of the overlay: those below, the topmost first.
fn layers(container: &Container) -> Result<Json> {
    let dir = &container.dir;
    let instructions = store::read::<Instructions>(&dir.instructions())?.unwrap_or_default();
    let lower = instructions.layers.iter().rev().map(|layer| layer.display().to_string());
    Ok(json!({
        "LowerDir": lower.collect::<Vec<_>>().join(":"),
        "MergedDir": dir.rootfs().display().to_string(),
        "UpperDir": dir.upper().display().to_string(),
        "WorkDir": dir.work().display().to_string(),
    }))
}

/// What was asked for, and where nothing was, what that means.
fn host_config(host: &HostConfig) -> Json {
    let mut shown = to_json(host);
    let unset = |shown: &Json, key: &str| {
        shown[key].is_null() || shown[key] == "" || shown[key] == json!({})
    };
    let host_cgroups = if unified_cgroups() { "private" } else { "host" };
    let spec = default_spec();
    let linux = spec.linux().as_ref();
    let privileged = host.privileged == Some(true);
    let masked = linux.and_then(|linux| linux.masked_paths().clone()).filter(|_| !privileged);
    let readonly = linux.and_then(|linux| linux.readonly_paths().clone()).filter(|_| !privileged);
    let decided = [
        ("LogConfig", json!({ "Type": "json-file", "Config": {} })),
        ("RestartPolicy", json!({ "Name": "no", "MaximumRetryCount": 0 })),
        ("PortBindings", json!({})),
        ("IpcMode", json!("private")),
        ("CgroupnsMode", json!(host_cgroups)),
        ("Runtime", json!("runc")),
        ("OomKillDisable", json!(false)),
        ("MaskedPaths", json!(masked)),
        ("ReadonlyPaths", json!(readonly)),
    ];
    for (key, value) in decided {
        if unset(&shown, key) {
            shown[key] = value;
        }
    }
    if shown["LogConfig"]["Type"].as_str().unwrap_or_default().is_empty() {
        shown["LogConfig"]["Type"] = json!("json-file");
    }
    if shown["LogConfig"]["Config"].is_null() {
        shown["LogConfig"]["Config"] = json!({});
    }
    if shown["RestartPolicy"]["Name"].as_str().unwrap_or_default().is_empty() {
        shown["RestartPolicy"]["Name"] = json!("no");
    }
    if host.shm_size.unwrap_or(0) == 0 {
        shown["ShmSize"] = json!(SHM_SIZE);
    }
    if shown["MemorySwappiness"] == json!(-1) {
        shown["MemorySwappiness"] = Json::Null;
    }
    if shown["PidsLimit"] == json!(0) || shown["PidsLimit"] == json!(-1) {
        shown["PidsLimit"] = Json::Null;
    }
    shown
}

/// True if the machine has only the second version of cgroups, with all controllers.
fn unified_cgroups() -> bool {
    cgroups::Hierarchy::detect() == Some(cgroups::Hierarchy::V2)
}

/// Older clients look for the default network's address beside the networks.
fn network_settings(mut settings: Json) -> Json {
    let bridge = settings["Networks"]["bridge"].clone();
    let inherited = [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ];
    for key in inherited {
        if settings[key].is_null() {
            settings[key] = bridge[key].clone();
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    /// The lists and objects that Docker's clients walk through without a look.
    #[test]
    fn a_host_configuration_of_nothing_tells_what_that_means() {
        let shown = host_config(&HostConfig::default());
        let text = serde_json::to_string(&shape::complete("HostConfig", &shown)).unwrap();
        let shown: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["LogConfig"], json!({ "Type": "json-file", "Config": {} }));
        assert_eq!(shown["RestartPolicy"], json!({ "Name": "no", "MaximumRetryCount": 0 }));
        assert_eq!(shown["ShmSize"], json!(SHM_SIZE));
        assert_eq!(shown["PortBindings"], json!({}));
        assert_eq!(shown["CapAdd"], Json::Null);
        assert_eq!(shown["PidMode"], json!(""));
        assert!(shown["MaskedPaths"].as_array().is_some_and(|paths| !paths.is_empty()));
        assert!(shown.get("Tmpfs").is_none() && shown.get("Sysctls").is_none());
    }

    #[test]
    fn the_bridges_address_is_also_where_older_clients_look() {
        let settings = json!({ "Networks": { "bridge": { "IPAddress": "172.17.0.2" } } });
        assert_eq!(network_settings(settings)["IPAddress"], "172.17.0.2");
    }
}
