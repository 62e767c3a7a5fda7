//! The options of the driver `local`: `type`, `device` and `o`, as mount(8) has them.
//!
//! Docker mounts such a volume on the host. Here nothing is mounted on the host, so
//! only what can be made in the container is taken: a directory of the host, and files
//! in memory, which each container then has for itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a volume with options stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// The directory `_data`.
    Data,
    /// Another directory of the host.
    Bind(PathBuf),
    /// Files in memory, with these options.
    Tmpfs(Vec<String>),
}

/// Reads the options, or says why not.
pub fn backing(options: &BTreeMap<String, String>) -> Result<Backing, String> {
    if let Some(key) = options.keys().find(|key| !["type", "device", "o"].contains(&key.as_str())) {
        return Err(format!("invalid option: {key:?}"));
    }
    let option = |key: &str| options.get(key).map_or("", String::as_str);
    let words = || option("o").split(',').filter(|word| !word.is_empty());
    if options.is_empty() {
        return Ok(Backing::Data);
    }
    if option("device").is_empty() {
        return Err("missing device in volume options".into());
    }
    match option("type") {
        "tmpfs" => Ok(Backing::Tmpfs(words().map(str::to_owned).collect())),
        _ if words().any(|word| word == "bind" || word == "rbind") => {
            let device = PathBuf::from(option("device"));
            match device.is_absolute() {
                true => Ok(Backing::Bind(device)),
                false => Err(format!("the device {:?} is not an absolute path", option("device"))),
            }
        }
        "" => Err("missing type in volume options".into()),
        other => Err(format!(
            "this engine mounts no {other} for a volume: mount it on the host, and use a bind (-v /path:…)"
        )),
    }
}

/// That they can be read.
pub(crate) fn check_options(options: &BTreeMap<String, String>) -> Result<(), String> {
    backing(options).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_a_volume_stands_for() {
        let told = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            format!("{:?}", backing(&pairs.collect()))
        };
        insta::assert_snapshot!(told(&[]), @"Ok(Data)");
        insta::assert_snapshot!(told(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7")]), @r#"Ok(Tmpfs(["size=1m", "uid=7"]))"#);
        insta::assert_snapshot!(told(&[("type", "none"), ("device", "/srv"), ("o", "bind")]), @r#"Ok(Bind("/srv"))"#);
        insta::assert_snapshot!(told(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=1.2.3.4")]), @r#"Err("this engine mounts no nfs for a volume: mount it on the host, and use a bind (-v /path:…)")"#);
        insta::assert_snapshot!(told(&[("o", "bind")]), @r#"Err("missing device in volume options")"#);
        insta::assert_snapshot!(told(&[("size", "1")]), @r#"Err("invalid option: \"size\"")"#);
    }
}
