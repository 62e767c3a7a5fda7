//! The grammar of `--publish` and `--expose`, as Docker has it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use namespaces::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A stream, tcp(7).
    Tcp,
    /// Datagrams, udp(7).
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// One container port that is to be published, as the user asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host's address to listen on; every one of them if `None`.
    pub host_ip: Option<IpAddr>,
    /// The host ports to choose from, first and last. `(0, 0)` lets the kernel choose.
    pub host: (u16, u16),
    /// The port inside.
    pub container: u16,
    /// What it carries.
    pub protocol: Protocol,
}

/// One published port, as it became: the host port is chosen and held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The host's address; every one of them if `None`.
    pub host_ip: Option<IpAddr>,
    /// The port outside.
    pub host: u16,
    /// The port inside.
    pub container: u16,
    /// What it carries.
    pub protocol: Protocol,
}

impl Published {
    /// The address to listen on, in Docker's words.
    pub fn address(&self) -> IpAddr {
        self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// As `docker ps` shows it: `0.0.0.0:8080->80/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outside = std::net::SocketAddr::new(self.address(), self.host);
        write!(f, "{outside}->{}/{}", self.container, self.protocol)
    }
}

/// Reads `[ip:][host]:container[/protocol]`, where both ports may be ranges.
///
/// A range inside with a range outside is paired port by port. One port inside
/// with a range outside takes the first free one of the range.
///
/// # Errors
///
/// Docker's sentences for a bad address, port, range or protocol.
pub fn parse_publish(spec: &str) -> Result<Vec<Port>> {
    let (outside, inside) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (ip, host) = outside.rsplit_once(':').unwrap_or(("", outside));
    let (container, protocol) = parse_inside(inside)?;
    let host_ip = parse_ip(ip)?;
    let host = match host {
        "" => (0, 0),
        range => {
            parse_range(range).ok_or_else(|| Error::new(format!("invalid hostPort: {range}")))?
        }
    };

    let width = |(first, last): (u16, u16)| last - first;
    let paired = width(host) == width(container);
    let unbound = host == (0, 0);
    if !paired && !unbound && width(container) > 0 {
        return Err(Error::new(format!(
            "invalid ranges specified for container and host Ports: {} and {}",
            Range(container),
            Range(host)
        )));
    }
    let one = |container_port: u16| {
        let host = match unbound || !paired {
            true => host,
            false => {
                let host = host.0 + (container_port - container.0);
                (host, host)
            }
        };
        Port { host_ip, host, container: container_port, protocol }
    };
    Ok((container.0..=container.1).map(one).collect())
}

/// Reads `port[-port][/protocol]`, the grammar of `--expose` and of an image's
/// `ExposedPorts`.
pub fn parse_expose(spec: &str) -> Result<Vec<(u16, Protocol)>> {
    let (range, protocol) = parse_inside(spec)?;
    Ok((range.0..=range.1).map(|port| (port, protocol)).collect())
}

/// What `-P` publishes: every exposed port that `-p` has not published already,
/// each on a host port of the kernel's choice.
pub fn publish_all(published: &[Port], exposed: &[(u16, Protocol)]) -> Vec<Port> {
    let known = |(container, protocol): (u16, Protocol)| {
        published.iter().any(|port| (port.container, port.protocol) == (container, protocol))
    };
    let mut exposed: Vec<_> = exposed.iter().copied().filter(|port| !known(*port)).collect();
    exposed.sort_unstable();
    exposed.dedup();
    let port = |(container, protocol)| Port { host_ip: None, host: (0, 0), container, protocol };
    exposed.into_iter().map(port).collect()
}

fn parse_inside(inside: &str) -> Result<((u16, u16), Protocol)> {
    let (range, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
    if range.is_empty() {
        return Err(Error::new("no port specified: <empty>"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => {
            return Err(Error::new(format!("publish {inside}: sctp ports cannot be published"))
                .hint("tcp and udp can"));
        }
        _ => return Err(Error::new(format!("invalid proto: {protocol}"))),
    };
    match parse_range(range) {
        Some((first, last)) if first > 0 => Ok(((first, last), protocol)),
        _ => Err(Error::new(format!("invalid containerPort: {range}"))),
    }
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    // A number has digits: from_str() would take a sign, too.
    let number = |text: &str| text.parse().ok().filter(|_| !text.starts_with('+'));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// An empty address is every address; an IPv6 address may stand in brackets.
fn parse_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().map_err(|_| Error::new(format!("invalid IP address: {text}")))?;
    Ok(Some(ip))
}

struct Range((u16, u16));

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        let port = |port: &Port| {
            let ip = port.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
            format!("{ip}{} -> {}/{}", Range(port.host), port.container, port.protocol)
        };
        match parse_publish(spec) {
            Ok(ports) => ports.iter().map(port).collect::<Vec<_>>().join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn publish_reads_what_docker_reads() {
        let specs = [
            "80",
            "8080:80",
            ":80",
            "127.0.0.1:8080:80",
            "127.0.0.1::80/udp",
            "[::1]:8080:80",
            "0.0.0.0:53:53/UDP",
            "8000-8002:80-82",
            "8000-8010:80",
            "80-81",
            "0:80",
        ];
        let table: Vec<String> = specs.iter().map(|s| format!("{s:<20} {}", show(s))).collect();
        insta::assert_snapshot!(table.join("\n"), @r"
            80                   0 -> 80/tcp
            8080:80              8080 -> 80/tcp
            :80                  0 -> 80/tcp
            127.0.0.1:8080:80    127.0.0.1 8080 -> 80/tcp
            127.0.0.1::80/udp    127.0.0.1 0 -> 80/udp
            [::1]:8080:80        ::1 8080 -> 80/tcp
            0.0.0.0:53:53/UDP    0.0.0.0 53 -> 53/udp
            8000-8002:80-82      8000 -> 80/tcp, 8001 -> 81/tcp, 8002 -> 82/tcp
            8000-8010:80         8000-8010 -> 80/tcp
            80-81                0 -> 80/tcp, 0 -> 81/tcp
            0:80                 0 -> 80/tcp
        ");
    }

    #[test]
    fn publish_refuses_what_docker_refuses() {
        let specs = [
            "",
            "8080:",
            "x:80",
            "80:x",
            "80/icmp",
            "80/sctp",
            "1.2.3:80:80",
            "host:80:80",
            "8000-8002:80-81",
            "9-8:1",
            "70000:80",
            "+80:80",
            "0",
        ];
        let table: Vec<String> = specs.iter().map(|s| format!("{s:<20} {}", show(s))).collect();
        insta::assert_snapshot!(table.join("\n"), @r"
                                 no port specified: <empty>
            8080:                no port specified: <empty>
            x:80                 invalid hostPort: x
            80:x                 invalid containerPort: x
            80/icmp              invalid proto: icmp
            80/sctp              publish 80/sctp: sctp ports cannot be published: tcp and udp can
            1.2.3:80:80          invalid IP address: 1.2.3
            host:80:80           invalid IP address: host
            8000-8002:80-81      invalid ranges specified for container and host Ports: 80-81 and 8000-8002
            9-8:1                invalid hostPort: 9-8
            70000:80             invalid hostPort: 70000
            +80:80               invalid hostPort: +80
            0                    invalid containerPort: 0
        ");
    }

    #[test]
    fn publish_all_leaves_out_what_is_published_already() {
        let published = parse_publish("8080:80").unwrap();
        let exposed = [(443, Protocol::Tcp), (80, Protocol::Tcp), (80, Protocol::Udp)];
        let more: Vec<_> = publish_all(&published, &exposed)
            .iter()
            .map(|port| (port.container, port.protocol))
            .collect();
        assert_eq!(more, [(80, Protocol::Udp), (443, Protocol::Tcp)]);
    }
}
