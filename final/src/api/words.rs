//! Bodies as other clients than Docker's own write them, in the shape that they mean.
//!
//! Docker takes a command as a list of words or as one word, a field that is null, in a
//! list or a map too, as one that is not there, and a field's name in whatever case. The
//! models take only the former.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::error::{Error, Result};
use crate::shape;

/// What may be a single word instead of a list: `strslice` of Docker's API.
const COMMANDS: [&str; 4] = ["Cmd", "Entrypoint", "Shell", "OnBuild"];

/// Maps whose keys say something, whatever stands behind them.
const KEYS: [&str; 3] = ["ExposedPorts", "Volumes", "EndpointsConfig"];

/// Reads a request's body, of which these [types](shape) tell the names.
pub fn parse<T: DeserializeOwned>(types: &[&str], body: &[u8]) -> Result<T> {
    understand(spelled(types, body)?)
}

/// Reads the body of a container's creation.
pub fn parse_creation<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut value = spelled(&["Config", "CreateRequest"], body)?;
    if value.as_object().is_some_and(|fields| !fields.contains_key("Image")) {
        return Err(Error::bad_parameter("config cannot be empty in order to create a container"));
    }
    place_hardware_address(&mut value);
    understand(value)
}

/// Reads a body as it is written, and says what is wrong with it in a sentence.
pub fn plain<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(misunderstood)
}

fn spelled(types: &[&str], body: &[u8]) -> Result<Value> {
    let mut value: Value = plain(body)?;
    // Our own command line spells as the models do.
    if !super::is_alone() {
        types.iter().for_each(|typ| shape::spell(typ, &mut value));
    }
    if let Value::Object(fields) = &mut value {
        for name in COMMANDS {
            if let Some(Value::String(word)) = fields.get(name) {
                let list = if word.is_empty() { Vec::new() } else { vec![word.as_str().into()] };
                fields.insert(name.into(), Value::Array(list));
            }
        }
    }
    drop_nulls(&mut value);
    Ok(value)
}

/// Reads what was [parsed](parse) already.
pub fn understand<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(misunderstood)
}

fn misunderstood(error: serde_json::Error) -> Error {
    Error::bad_parameter(format!("understand the request's body: {error}"))
}

/// Before 1.44 the hardware address was the container's, and meant that of its place on
/// the network that its mode names.
fn place_hardware_address(value: &mut Value) {
    let address = value["MacAddress"].as_str().unwrap_or_default().to_owned();
    let mode = match value["HostConfig"]["NetworkMode"].as_str().unwrap_or_default() {
        "" | "default" => networking::DEFAULT.to_owned(),
        mode => mode.to_owned(),
    };
    if address.is_empty() || matches!(&*mode, "host" | "none") || mode.starts_with("container:") {
        return;
    }
    let endpoints = member(Some(value), "NetworkingConfig");
    let endpoints = member(endpoints, "EndpointsConfig");
    // The network may be called by its id there, and by its name in the mode.
    let only = endpoints.as_ref().and_then(|all| all.as_object()).and_then(|all| {
        let mut names = all.keys();
        names.next().filter(|_| names.next().is_none()).cloned()
    });
    let endpoint = member(endpoints, &only.unwrap_or(mode));
    if let Some(wanted) = member(endpoint, "MacAddress")
        && wanted.as_str().unwrap_or_default().is_empty()
    {
        *wanted = address.into();
    }
}

/// A member of an object, made if it is not there.
fn member<'a>(value: Option<&'a mut Value>, name: &str) -> Option<&'a mut Value> {
    let value = value?;
    if value.is_null() {
        *value = Value::Object(Default::default());
    }
    Some(value.as_object_mut()?.entry(name).or_insert(Value::Null))
}

/// A null is nothing; but what is listed in one of [`KEYS`] stays, with nothing in it.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                if let (true, Value::Object(all)) = (KEYS.contains(&name.as_str()), &mut *value) {
                    let nulls = all.values_mut().filter(|value| value.is_null());
                    nulls.for_each(|value| *value = Value::Object(Default::default()));
                }
                drop_nulls(value);
            }
        }
        Value::Array(list) => {
            list.retain(|value| !value.is_null());
            list.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bollard_stubs::models::ContainerCreateBody;

    use super::*;
    use crate::engine::{modes, refusals};

    /// What clients send that mean nothing in particular by it.
    const BODIES: [&str; 3] = [
        // Docker's own.
        r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,
            "AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,
            "Cmd":null,"Image":"host","Volumes":{},"WorkingDir":"","Entrypoint":null,"Labels":{},
            "HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},
            "NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no",
            "MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,
            "ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],
            "DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"",
            "Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,
            "PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"",
            "UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,
            "CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],
            "BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],
            "CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,
            "CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,
            "DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,
            "OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,
            "IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},
            "NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,
            "Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"",
            "EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"",
            "GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}"#,
        // Libraries that leave out nothing that they know of.
        r#"{"Image":"host","Cmd":"true","Entrypoint":"","Env":[null],"Shell":null,"OnBuild":null,
            "ExposedPorts":{"80/tcp":null},"Volumes":{"/data":null},"Healthcheck":null,
            "MacAddress":"","NetworkDisabled":false,"StopTimeout":null,"HostConfig":{
            "Annotations":null,"CgroupSpec":"","KernelMemory":0,"KernelMemoryTCP":0,"Init":null,
            "Mounts":null,"Runtime":"","StorageOpt":{},"Sysctls":{},"Tmpfs":null,
            "RestartPolicy":{"Name":"","MaximumRetryCount":0},"PidsLimit":null,
            "LogConfig":{"Type":null,"Config":null},"PortBindings":{"80/tcp":null}}}"#,
        r#"{"Image":"host","HostConfig":null,"NetworkingConfig":null,"Labels":null}"#,
    ];

    #[test]
    fn defaults_are_never_refused() {
        for text in BODIES {
            let body: ContainerCreateBody = parse_creation(text.as_bytes()).expect(text);
            let host = body.host_config.clone().unwrap_or_default();
            let (config, ..) = crate::engine::create::take_apart(body);
            assert_eq!(refusals::check(&config, &host), Ok(vec![]), "{text}");
            modes::check(&config, &host).expect(text);
        }
    }

    #[test]
    fn a_command_may_be_a_single_word_and_a_key_may_stand_alone() {
        let body: ContainerCreateBody = parse_creation(BODIES[1].as_bytes()).unwrap();
        assert_eq!(body.cmd.as_deref(), Some(&["true".to_owned()][..]));
        assert_eq!(body.entrypoint.as_deref(), Some(&[][..]));
        assert_eq!(body.exposed_ports.as_deref(), Some(&["80/tcp".to_owned()][..]));
        assert_eq!(body.volumes.as_deref(), Some(&["/data".to_owned()][..]));
    }

    #[test]
    fn names_are_read_in_whatever_case() {
        let body = br#"{"image":"host","CMD":["true"],"hostconfig":{"binds":["/a:/b"],
            "LogConfig":{"type":"none"}},"Labels":{"mixed":"Case"}}"#;
        let body: ContainerCreateBody = parse_creation(body).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(
            (body.image.as_deref(), body.cmd.as_deref()),
            (Some("host"), Some(&["true".to_owned()][..]))
        );
        assert_eq!(host.binds.as_deref(), Some(&["/a:/b".to_owned()][..]));
        assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
        assert_eq!(body.labels.unwrap()["mixed"], "Case");
    }

    #[test]
    fn a_containers_hardware_address_is_its_networks() {
        for networks in ["null", "{}", r#"{"EndpointsConfig":{"3f0a":{}}}"#] {
            let body = format!(
                r#"{{"Image":"host","MacAddress":"02:42:ac:11:00:0a","NetworkingConfig":{networks},
                    "HostConfig":{{"NetworkMode":"sea"}}}}"#
            );
            let body: ContainerCreateBody = parse_creation(body.as_bytes()).unwrap();
            let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
            let name = if networks.contains("3f0a") { "3f0a" } else { "sea" };
            assert_eq!(endpoints[name].mac_address.as_deref(), Some("02:42:ac:11:00:0a"));
        }
    }
}
