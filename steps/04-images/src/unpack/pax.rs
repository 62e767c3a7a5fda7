//! PAX extended headers: what the 512 bytes of a tar header have no room for.

use namespaces::{Error, Result};

use super::sparse::Sparse;

/// The extended header of one entry. It overrides the header that follows it.
///
/// <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>, "pax Extended Header"
#[derive(Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Seconds since the epoch, and nanoseconds after that second.
    pub(super) mtime: Option<(i64, i64)>,
    /// Names and values, as they came.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// GNU's sparse files are told in PAX keys of their own.
    pub(super) sparse: Sparse,
}

impl Pax {
    /// Reads the records `LENGTH KEY=VALUE\n`. The length counts the whole record, so
    /// a value may hold anything, also newlines, as `security.capability` does.
    pub(super) fn parse(mut records: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or_else(broken)?;
            pax.take(key, value)?;
            records = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        match key {
            // An empty value takes a record back: what the header says counts.
            b"path" => self.path = some(value, |value| Ok(value.to_vec()))?,
            b"linkpath" => self.link = some(value, |value| Ok(value.to_vec()))?,
            b"size" => self.size = some(value, decimal)?,
            b"uid" => self.uid = some(value, decimal)?,
            b"gid" => self.gid = some(value, decimal)?,
            b"mtime" => self.mtime = some(value, |value| time(value).ok_or_else(broken))?,
            _ => {} // comment, ctime, names of owners: nothing that an unpacked file shows
        }
        Ok(())
    }
}

/// What is read from a value, if there is one.
fn some<T>(value: &[u8], read: impl Fn(&[u8]) -> Result<T>) -> Result<Option<T>> {
    Some(value).filter(|value| !value.is_empty()).map(read).transpose()
}

/// Splits the first record off: its key, its value, what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&b| b == b' ')?;
    let length: usize = str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// A decimal number without a sign.
pub(super) fn decimal(digits: &[u8]) -> Result<u64> {
    let number = str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    number.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let digits = String::from_utf8_lossy(&digits[..digits.len().min(40)]);
        Error::new(format!("refuse layer: {digits:?} stands where a number must be"))
    })
}

/// `-1.5` is half a second before -1: seconds -2, nanoseconds 500,000,000.
fn time(value: &[u8]) -> Option<(i64, i64)> {
    let text = str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}")[..9].parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

fn broken() -> Error {
    Error::new("refuse layer: a PAX header is not made of records `LENGTH KEY=VALUE`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_equal_signs() {
        let pax = Pax::parse(b"30 SCHILY.xattr.user.x=a\nb=c\n\n12 path=a/b\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"a\nb=c\n".to_vec())]);
        assert_eq!(pax.path.unwrap(), b"a/b");
    }

    #[test]
    fn an_empty_value_takes_a_record_back() {
        let records = b"9 size=1\n9 uid=12\n12 path=a/b\n8 size=\n7 uid=\n8 path=\n9 mtime=\n";
        let pax = Pax::parse(records).unwrap();
        assert_eq!((pax.size, pax.uid, pax.path, pax.mtime), (None, None, None, None));
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for bad in ["99 path=a\n", "0 path=a\n", "path=a\n", "3 a", "18446744073709551615 a=b\n"] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["11 size=-1\n", "11 size=+1\n", "29 size=99999999999999999999\n"] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_before_the_epoch() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"1234567890.1234567891"), Some((1_234_567_890, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-7"), Some((-7, 0)));
        assert_eq!(time(b"1.x"), None);
    }
}
