//! The three files through which names reach a program: `/etc/hosts`,
//! `/etc/hostname` and `/etc/resolv.conf`. Each is a function from facts to text;
//! lesson 3 mounts the result over the image's own file.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use namespaces::{Context, Error, Result};
use serde::{Deserialize, Serialize};

/// What the command line says about names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// `--dns`: name servers instead of the host's.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`: search domains instead of the host's; `.` alone means none.
    pub search: Vec<String>,
    /// `--dns-option`: resolver options instead of the host's, see resolv.conf(5).
    pub options: Vec<String>,
    /// `--add-host`: further lines of `/etc/hosts`.
    pub hosts: Vec<ExtraHost>,
}

/// One `--add-host NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; `None` is `host-gateway`, the host as the container sees it.
    pub address: Option<IpAddr>,
}

impl std::fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}:{address}", self.name),
            None => write!(f, "{}:host-gateway", self.name),
        }
    }
}

impl std::str::FromStr for ExtraHost {
    type Err = Error;

    /// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::new(format!("bad format for add-host: \"{text}\""));
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare.unwrap_or(address) {
            "host-gateway" => None,
            address => Some(address.parse().map_err(|_| {
                Error::new(format!("invalid IP address in add-host: \"{address}\""))
            })?),
        };
        Ok(Self { name: name.into(), address })
    }
}

/// The text of `/etc/hosts`: the loopback names, the extra hosts in the order
/// given, and the container's own name if it has an address.
///
/// # Errors
///
/// `host-gateway` is asked for where the network has no gateway.
pub fn hosts(
    hostname: &str,
    address: Option<Ipv4Addr>,
    extra: &[ExtraHost],
    gateway: Option<IpAddr>,
) -> Result<String> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    text.push_str(&extra_hosts(extra, gateway)?);
    if let Some(address) = address {
        // A hostname with a domain is also known by its first label.
        let short = hostname.split_once('.').map(|(label, _)| format!(" {label}"));
        let _ = writeln!(text, "{address}\t{hostname}{}", short.unwrap_or_default());
    }
    Ok(text)
}

/// The text of `/etc/hosts` for a container in the host's own network: the
/// host's file, and the extra hosts after it.
pub fn hosts_of_host(host: &str, extra: &[ExtraHost]) -> Result<String> {
    let newline = if host.is_empty() || host.ends_with('\n') { "" } else { "\n" };
    let own = extra_hosts(extra, Some(Ipv4Addr::LOCALHOST.into()))?;
    Ok(format!("{host}{newline}{own}"))
}

fn extra_hosts(extra: &[ExtraHost], gateway: Option<IpAddr>) -> Result<String> {
    let mut text = String::new();
    for ExtraHost { name, address } in extra {
        let address = address.or(gateway).ok_or_else(|| {
            Error::new(format!("add host {name}: this network has no host-gateway"))
                .hint("give an address, or choose another --network")
        })?;
        let _ = writeln!(text, "{address}\t{name}");
    }
    Ok(text)
}

/// The text of `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// Where a container's name servers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The host's own network: its loopback is the container's.
    Host,
    /// A network of its own, with IPv4 only: name servers on the host's loopback
    /// or at IPv6 addresses cannot be reached from there.
    Own {
        /// Who answers if no name server is left.
        fallback: [Option<Ipv4Addr>; 2],
    },
}

impl Reach {
    /// A network of its own, with Google's public name servers if all else fails,
    /// as Docker does it.
    pub const OWN: Reach =
        Reach::Own { fallback: [Some(Ipv4Addr::new(8, 8, 8, 8)), Some(Ipv4Addr::new(8, 8, 4, 4))] };
}

/// The text of `/etc/resolv.conf`, from the host's and the command line.
///
/// What the command line gives replaces what the host has, each of name servers,
/// search domains and options for itself. See resolv.conf(5).
pub fn resolv_conf(host: &str, names: &Names, reach: Reach) -> String {
    let host = Resolv::parse(host);
    let mut servers: Vec<String> = match names.servers.is_empty() {
        false => names.servers.iter().map(IpAddr::to_string).collect(),
        true => host.servers.into_iter().filter(|server| reachable(server, reach)).collect(),
    };
    if let (true, Reach::Own { fallback }) = (servers.is_empty(), reach) {
        servers = fallback.iter().flatten().map(Ipv4Addr::to_string).collect();
    }
    let search = match names.search.is_empty() {
        false => names.search.iter().filter(|domain| *domain != ".").cloned().collect(),
        true => host.search,
    };
    let options = if names.options.is_empty() { host.options } else { names.options.clone() };

    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}

fn reachable(server: &str, reach: Reach) -> bool {
    match (reach, server.parse::<IpAddr>()) {
        (Reach::Host, _) => true,
        (Reach::Own { .. }, Ok(IpAddr::V4(server))) => !server.is_loopback(),
        (Reach::Own { .. }, _) => false,
    }
}

/// What a resolv.conf says. As resolv.conf(5) has it, the last `search` or
/// `domain` wins, and options add up.
#[derive(Debug, Default)]
pub struct Resolv {
    /// The name servers, in the order in which they are asked.
    pub servers: Vec<String>,
    /// The search domains.
    pub search: Vec<String>,
    /// The options.
    pub options: Vec<String>,
}

impl Resolv {
    /// Reads the text of a resolv.conf; what it does not know it skips.
    pub fn parse(text: &str) -> Self {
        let mut resolv = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            let words = words.map(String::from);
            match keyword {
                "nameserver" => resolv.servers.extend(words.take(1)),
                "search" | "domain" => resolv.search = words.collect(),
                "options" => resolv.options.extend(words),
                _ => {}
            }
        }
        resolv
    }
}

/// The host's resolv.conf. Where it only names systemd-resolved's stub on the
/// loopback, the file beside it that names the real servers.
pub fn host_resolv_conf() -> Result<String> {
    const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
    let path = Path::new("/etc/resolv.conf");
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.doing(|| format!("read {}", path.display()))?,
    };
    if Resolv::parse(&text).servers == ["127.0.0.53"] {
        return Ok(std::fs::read_to_string(UPSTREAM).unwrap_or(text));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
# made by hand
nameserver 127.0.0.53
nameserver 192.0.2.53
nameserver fd00::53
domain old.example
search corp.example lab.example
options edns0
options ndots:2
";

    #[test]
    fn hosts_names_the_container_and_what_was_asked_for() {
        let extra = ["db:10.0.0.5", "host.docker.internal:host-gateway", "six=[fd00::6]"];
        let extra: Vec<ExtraHost> = extra.iter().map(|text| text.parse().unwrap()).collect();
        let gateway = Some("10.80.0.1".parse().unwrap());
        let address = Some("10.80.0.2".parse().unwrap());
        insta::assert_snapshot!(hosts("web.example", address, &extra, gateway).unwrap(), @r"
            127.0.0.1	localhost
            ::1	localhost ip6-localhost ip6-loopback
            fe00::	ip6-localnet
            ff00::	ip6-mcastprefix
            ff02::1	ip6-allnodes
            ff02::2	ip6-allrouters
            10.0.0.5	db
            10.80.0.1	host.docker.internal
            fd00::6	six
            10.80.0.2	web.example web
        ");
        assert!(
            hosts("web", address, &extra, None)
                .unwrap_err()
                .to_string()
                .contains("no host-gateway")
        );
        assert_eq!(
            hosts_of_host("127.0.0.1 me", &extra[..1]).unwrap(),
            "127.0.0.1 me\n10.0.0.5\tdb\n"
        );
    }

    #[test]
    fn a_bad_extra_host_is_refused_in_dockers_words() {
        let refuse = |text: &str| text.parse::<ExtraHost>().unwrap_err().to_string();
        assert_eq!(refuse("db"), "bad format for add-host: \"db\"");
        assert_eq!(refuse("db:here"), "invalid IP address in add-host: \"here\"");
    }

    #[test]
    fn name_servers_that_the_container_cannot_reach_are_left_out() {
        insta::assert_snapshot!(resolv_conf(HOST, &Names::default(), Reach::OWN), @r"
            nameserver 192.0.2.53
            search corp.example lab.example
            options edns0 ndots:2
        ");
        insta::assert_snapshot!(resolv_conf(HOST, &Names::default(), Reach::Host), @r"
            nameserver 127.0.0.53
            nameserver 192.0.2.53
            nameserver fd00::53
            search corp.example lab.example
            options edns0 ndots:2
        ");
    }

    #[test]
    fn without_a_name_server_there_is_a_fallback() {
        let stub = "nameserver ::1\nnameserver 127.0.0.1\n";
        insta::assert_snapshot!(resolv_conf(stub, &Names::default(), Reach::OWN), @r"
            nameserver 8.8.8.8
            nameserver 8.8.4.4
        ");
        assert_eq!(resolv_conf("", &Names::default(), Reach::Host), "");
    }

    #[test]
    fn the_command_line_replaces_what_the_host_says() {
        let names = Names {
            servers: vec!["127.0.0.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["timeout:1".into()],
            hosts: vec![],
        };
        assert_eq!(
            resolv_conf(HOST, &names, Reach::OWN),
            "nameserver 127.0.0.1\noptions timeout:1\n"
        );
    }
}
