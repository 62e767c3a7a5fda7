//! Detach keys: what a client at a terminal types to leave a container alone.
//!
//! Docker's daemon looks for them in what the client sends, so that clients need not.

use crate::engine::error::{Error, Result};

/// Docker's own, where the client names none: ctrl-p ctrl-q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Finds the keys in a stream of input.
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them have come so far, and are held back.
    seen: usize,
}

fn unknown(name: &str) -> Error {
    Error::bad_parameter(format!("Invalid detach keys: Unknown character: '{name}'"))
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or `a,b`; the default for nothing.
    pub fn parse(text: &str) -> Result<Self> {
        let key = |name: &str| match (name.as_bytes(), name.strip_prefix("ctrl-")) {
            ([byte], _) => Ok(*byte),
            (_, Some(key)) => match key.as_bytes() {
                [byte @ b'a'..=b'z'] => Ok(byte - b'a' + 1),
                [byte @ b'A'..=b'Z'] => Ok(byte - b'A' + 1),
                b"@" => Ok(0),
                b"[" => Ok(27),
                b"\\" => Ok(28),
                b"]" => Ok(29),
                b"^" => Ok(30),
                b"_" => Ok(31),
                _ => Err(unknown(name)),
            },
            _ => Err(unknown(name)),
        };
        let keys = match text {
            "" => DEFAULT.to_vec(),
            text => text.split(',').map(key).collect::<Result<_>>()?,
        };
        Ok(Self { keys, seen: 0 })
    }

    /// What of the input is the container's; true if the keys were complete.
    pub fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len());
        for byte in input {
            if *byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return (out, true);
                }
                continue;
            }
            // It was something else: what was held back is the container's.
            out.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(*byte == self.keys[0] && self.keys.len() > 1);
            if self.seen == 0 {
                out.push(*byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_found_wherever_they_are_split() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.filter(b"ls\x10"), (b"ls".to_vec(), false));
        assert_eq!(keys.filter(b"x\x10\x10"), (b"\x10x\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (b"".to_vec(), true));
    }

    #[test]
    fn keys_are_written_as_docker_does() {
        assert_eq!(DetachKeys::parse("ctrl-a,x,ctrl-[").unwrap().keys, [1, b'x', 27]);
        assert!(DetachKeys::parse("ctrl-1").is_err() && DetachKeys::parse("alt-p").is_err());
    }
}
