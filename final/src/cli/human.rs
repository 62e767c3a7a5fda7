//! How Docker writes ids, sizes and ports for people.

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

/// A size in powers of 1000 with three digits, as Docker prints it: `1.24MB`.
pub fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = if value >= 100.0 || unit == "B" {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let digits = format!("{value:.decimals$}");
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    format!("{digits}{unit}")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`
pub fn ports(ports: &[PortSummary]) -> String {
    let mut lines: Vec<_> = ports
        .iter()
        .map(|port| {
            let typ = port.typ.map(|typ| typ.to_string()).unwrap_or_else(|| "tcp".into());
            match (port.public_port, &port.ip) {
                (Some(public), Some(ip)) if ip.contains(':') => {
                    format!("[{ip}]:{public}->{}/{typ}", port.private_port)
                }
                (Some(public), ip) => {
                    let ip = ip.as_deref().unwrap_or("0.0.0.0");
                    format!("{ip}:{public}->{}/{typ}", port.private_port)
                }
                (None, _) => format!("{}/{typ}", port.private_port),
            }
        })
        .collect();
    lines.sort();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let said: Vec<_> = [0, 999, 1000, 1240, 12_345_678, 123_456_789].map(size).into();
        assert_eq!(said, ["0B", "999B", "1kB", "1.24kB", "12.3MB", "123MB"]);
    }
}
