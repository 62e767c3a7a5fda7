//! Amounts as people write them: `64m`, `1.5g`, `0.5` processors.

use namespaces::{Error, Result};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const PIB: u64 = 1 << 50;

/// Bytes, as Docker reads them: a number, perhaps with decimals, and a unit in
/// either case. `k`, `kb` and `kib` are all 1024; no unit means bytes.
///
/// # Errors
/// Anything else, in one sentence.
pub fn bytes(text: &str) -> Result<u64> {
    let invalid = || {
        Error::new(format!("{text:?} is not a size"))
            .hint("write a number and a unit, one of b, k, m, g, t: 64m")
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => TIB,
        "p" | "pb" | "pib" => PIB,
        _ => return Err(invalid()),
    };
    let size = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|decimal| decimal * unit as f64)
            .filter(|bytes| *bytes < i64::MAX as f64)
            .map(|bytes| bytes as u64),
    };
    size.filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(invalid)
}

/// Bytes, or -1 for "no limit": what `--memory-swap` takes.
pub fn bytes_or_unlimited(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => bytes(text).map(|bytes| bytes as i64),
    }
}

/// Processors in billionths: `0.5` is 500000000. Docker calls them NanoCpus.
pub fn nano_cpus(text: &str) -> Result<u64> {
    let invalid = || Error::new(format!("{text:?} is not a number of processors")).hint("0.5, 2");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(invalid());
    }
    if fraction.len() > 9 {
        return Err(Error::new(format!("{text:?} is too precise"))
            .hint("a processor is divided into billionths, nine decimals"));
    }
    format!("{whole}{fraction:0<9}").parse().map_err(|_| invalid())
}

/// Bytes for people: the largest unit that gives at least 1, at most two decimals.
pub fn human(bytes: u64) -> String {
    let units = [(PIB, "PiB"), (TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        None => format!("{bytes} B"),
        Some((size, unit)) => {
            let number = format!("{:.2}", bytes as f64 / size as f64);
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// A list of numbers as the kernel writes it, `0-2,7`, taken apart.
///
/// # Errors
/// Returns `None` if it is no such list.
pub fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No machine has more; and a typo must not fill the memory.
        if first > last || last > 8192 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("7", 7),
            ("64m", 64 * MIB),
            ("64M", 64 * MIB),
            ("64mb", 64 * MIB),
            ("64MiB", 64 * MIB),
            ("1.5g", 3 * GIB / 2),
            ("6 k", 6 * KIB),
            ("1t", TIB),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1", "64x", "1.2.3m", "9999999999t", "64 m b", "infg", "1e3"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_exact() {
        assert_eq!(nano_cpus("0.5"), Ok(500_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        assert_eq!(nano_cpus(".1"), Ok(100_000_000));
        assert_eq!(nano_cpus("0.000000001"), Ok(1));
        for text in ["", ".", "-1", "1.0000000001", "two", "1e3", "99999999999"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_told_in_the_largest_unit() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(64 * MIB), "64 MiB");
        assert_eq!(human(3 * GIB / 2), "1.5 GiB");
        assert_eq!(human(10 * MIB + MIB / 4), "10.25 MiB");
    }

    #[test]
    fn lists_are_taken_apart() {
        assert_eq!(list("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("2-0"), None);
        assert_eq!(list("a"), None);
        assert_eq!(list("0-4294967295"), None);
    }
}
