//! `/etc/ld.so.cache`: the names of libraries, and where ldconfig(8) found them.
//!
//! ```text
//! "glibc-ld.so.cache1.1"   20 bytes
//! nlibs, len_strings       u32, u32
//! flags, padding           u8, 3 × u8
//! extension_offset         u32
//! unused                   3 × u32
//! nlibs lines              flags i32, name u32, path u32, unused u32, hwcap u64
//! strings                  each ends in NUL; name and path count from the magic on
//! ```
//!
//! Older ldconfigs put a table of another format in front of it, for older loaders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const LINE: usize = 24;

/// Where libraries are, by their names.
#[derive(Debug, Default)]
pub struct Cache {
    paths: HashMap<String, Vec<PathBuf>>,
}

impl Cache {
    /// The host's cache; empty where there is none, as with musl.
    pub fn of_host() -> Self {
        let bytes = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        Self::parse(&bytes).unwrap_or_default()
    }

    /// Reads a cache; nothing if it is of no format that is known here.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        let bytes = &bytes[start..];
        // The cache is of this machine, and so in its byte order.
        let u32_at = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let count = u32_at(MAGIC.len())? as usize;
        let lines = bytes.get(HEADER..HEADER + count.checked_mul(LINE)?)?;
        let mut cache = Self::default();
        for (index, line) in lines.chunks_exact(LINE).enumerate() {
            let at = HEADER + index * LINE;
            let name = super::text(bytes, u32_at(at + 4)?.into())?;
            let path = super::text(bytes, u32_at(at + 8)?.into())?;
            let for_any_processor = line[16..] == [0; 8];
            let paths = cache.paths.entry(name).or_default();
            // The loader prefers what is built for a newer processor; what runs on
            // every one comes first here, because an image may move.
            let place = if for_any_processor { 0 } else { paths.len() };
            paths.insert(place, path.into());
        }
        Some(cache)
    }

    /// Where a library may be, the best place first. It may be for another processor.
    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = &Path> {
        self.paths.get(name).into_iter().flatten().map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(lines: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = HEADER + lines.len() * LINE;
        for (name, path, hwcap) in lines {
            table.extend(3i32.to_ne_bytes());
            for text in [name, path] {
                table.extend(((base + strings.len()) as u32).to_ne_bytes());
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
            }
            table.extend(0u32.to_ne_bytes());
            table.extend(hwcap.to_ne_bytes());
        }
        let mut all = MAGIC.to_vec();
        all.extend((lines.len() as u32).to_ne_bytes());
        all.extend((strings.len() as u32).to_ne_bytes());
        all.resize(HEADER, 0);
        [all, table, strings].concat()
    }

    #[test]
    fn a_library_for_every_processor_comes_first() {
        let bytes = cache(&[
            ("liba.so.1", "/lib/glibc-hwcaps/x86-64-v3/liba.so.1", 1 << 62),
            ("liba.so.1", "/lib/liba.so.1", 0),
            ("libb.so.2", "/opt/libb.so.2", 0),
        ]);
        for bytes in [bytes.clone(), [b"ld.so-1.7.0\0what was before", &bytes[..]].concat()] {
            let cache = Cache::parse(&bytes).unwrap();
            let found: Vec<_> = cache.find("liba.so.1").collect();
            assert_eq!(found[0], Path::new("/lib/liba.so.1"));
            assert_eq!(found.len(), 2);
            assert_eq!(cache.find("libc.so.6").next(), None);
        }
    }

    #[test]
    fn a_broken_cache_is_no_cache() {
        let bytes = cache(&[("liba.so.1", "/lib/liba.so.1", 0)]);
        for end in 0..bytes.len() {
            assert!(Cache::parse(&bytes[..end]).is_none(), "{end} bytes");
        }
    }
}
