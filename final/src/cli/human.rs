//! How Docker writes ids, sizes and ports for people.

use std::net::IpAddr;

use bollard_stubs::models::PortSummary;

/// `RunningFor` is `RUNNING FOR`.
pub fn heading(field: &str) -> String {
    let mut heading = String::new();
    for (at, c) in field.char_indices() {
        let before = field[..at].chars().last();
        if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
            heading.push(' ');
        }
        heading.extend(c.to_uppercase());
    }
    heading
}

/// The first 12 digits of an id, without its algorithm.
pub fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    &digits[..digits.len().min(12)]
}

/// At most `width` characters, the last one an ellipsis if some are left out.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// A size in powers of 1000 with three digits, as Docker's lists have it: `1.24MB`.
pub fn size(bytes: i64) -> String {
    rounded(bytes, 3)
}

/// A size with four digits, as Docker's sums have it: `1.245MB`.
pub fn sum(bytes: i64) -> String {
    rounded(bytes, 4)
}

fn rounded(bytes: i64, digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let whole = (value.abs().max(1.0).log10().floor() as usize) + 1;
    let digits = format!("{value:.*}", digits.saturating_sub(whole));
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits}{unit}")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`, with neighbours in one: `9000-9002/tcp`.
pub fn ports(ports: &[PortSummary]) -> String {
    let ip = |port: &PortSummary| port.ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    let typ = |port: &PortSummary| port.typ.map_or("tcp".into(), |typ| typ.to_string());
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, ip(port), port.public_port, typ(port)));
    let mut words = Vec::new();
    let mut elsewhere = Vec::new();
    // Runs of ports that are the same outside as inside, by address and protocol.
    let mut runs: Vec<(Option<IpAddr>, String, u16, u16)> = Vec::new();
    for port in ports {
        let (ip, typ, private) = (ip(port), typ(port), port.private_port);
        if let Some(ip) = ip
            && port.public_port != Some(private)
        {
            let public = port.public_port.unwrap_or(0);
            elsewhere.push(format!("{}->{private}/{typ}", at(ip, &public.to_string())));
            continue;
        }
        let known = runs.iter_mut().find(|run| run.0 == ip && run.1 == typ);
        match known {
            Some(run) if private == run.3.wrapping_add(1) => run.3 = private,
            Some(run) => {
                words.push(in_one(run));
                (run.2, run.3) = (private, private);
            }
            None => runs.push((ip, typ, private, private)),
        }
    }
    words.extend(runs.iter().map(in_one));
    words.extend(elsewhere);
    words.join(", ")
}

fn in_one((ip, typ, first, last): &(Option<IpAddr>, String, u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match ip {
        Some(ip) => format!("{}->{range}/{typ}", at(*ip, &range)),
        None => format!("{range}/{typ}"),
    }
}

fn at(ip: IpAddr, port: &str) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let said: Vec<_> = [0, 999, 1000, 1240, 12_345_678, 123_456_789].map(size).into();
        assert_eq!(said, ["0B", "999B", "1kB", "1.24kB", "12.3MB", "123MB"]);
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        let port = |ip: &str, private_port, public: u16| PortSummary {
            ip: (!ip.is_empty()).then(|| ip.into()),
            private_port,
            public_port: (public > 0).then_some(public),
            typ: Some(bollard_stubs::models::PortSummaryTypeEnum::TCP),
        };
        let (all, six) = ("0.0.0.0", "::");
        let mut given = vec![port("", 99, 0), port(all, 80, 8080), port(six, 80, 8080)];
        given.extend(
            [9000, 9001, 9002].into_iter().flat_map(|p| [port(all, p, p), port(six, p, p)]),
        );
        assert_eq!(
            ports(&given),
            "99/tcp, 0.0.0.0:9000-9002->9000-9002/tcp, [::]:9000-9002->9000-9002/tcp, \
             0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(ports(&[port("", 5, 0), port("", 7, 0)]), "5/tcp, 7/tcp");
    }
}
