//! The container's log, in Docker's json-file format: a JSON object on each line.
//!
//! ```text
//! {"log":"GET / 200\n","stream":"stdout","time":"2026-11-21T12:34:56.789012345Z"}
//! ```
//!
//! Where `--log-opt` asks for labels or variables to be kept with every line, they are
//! an object `"attrs"` before the time.
//!
//! A line without its end is one that goes on in the next object: longer than
//! 16 KiB, or cut off by the end of the stream.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use namespaces::{Context, Result};
use serde::{Deserialize, Serialize};

use super::protocol::Stream;
use crate::runtime::sys;

/// The longest part of a line that one object holds.
const LONGEST: usize = 16 * 1024;

/// How much the log may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Bytes in one file before the next is begun; `None` for no limit.
    pub max_size: Option<u64>,
    /// How many files are kept, at least 1.
    pub max_file: u32,
    /// What is kept with every line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { max_size: None, max_file: 1, attributes: BTreeMap::new() }
    }
}

/// The log, being written.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    options: LogOptions,
    /// What stands in every object between its stream and its time.
    attributes: Vec<u8>,
    /// The beginnings of lines that have not ended yet: stdout's and stderr's.
    begun: [Vec<u8>; 2],
    /// Objects that are about to be written together.
    batch: Vec<u8>,
    clock: Clock,
}

impl Log {
    /// Goes on with the log at `path`, or begins it.
    pub fn open(path: &Path, options: LogOptions) -> Result<Self> {
        let file = append(path)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let begun = Default::default();
        let clock = Clock::default();
        let attributes = attributes(&options);
        let batch = Vec::new();
        Ok(Self { path: path.into(), file, size, options, attributes, begun, batch, clock })
    }

    /// Takes what the program has written. All whole lines of it go to the file in
    /// one write(2).
    pub fn take(&mut self, stream: Stream, mut bytes: &[u8]) {
        let time = self.clock.now();
        let begun = stream as usize - 1;
        while !bytes.is_empty() {
            let room = LONGEST - self.begun[begun].len();
            let window = &bytes[..room.min(bytes.len())];
            let (length, ended) = match sys::find(b'\n', window) {
                Some(end) => (end + 1, true),
                None => (window.len(), window.len() == room),
            };
            let (part, rest) = bytes.split_at(length);
            bytes = rest;
            if !ended {
                self.begun[begun].extend_from_slice(part);
            } else if self.begun[begun].is_empty() {
                object(&mut self.batch, part, stream, &self.attributes, &time);
            } else {
                let mut line = std::mem::take(&mut self.begun[begun]);
                line.extend_from_slice(part);
                object(&mut self.batch, &line, stream, &self.attributes, &time);
            }
        }
        self.write_batch();
    }

    /// All streams have ended: their last lines will get no end any more.
    pub fn finish_all(&mut self) {
        self.finish(Stream::Stdout);
        self.finish(Stream::Stderr);
    }

    fn finish(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.begun[stream as usize - 1]);
        if !line.is_empty() {
            let time = self.clock.now();
            object(&mut self.batch, &line, stream, &self.attributes, &time);
            self.write_batch();
        }
    }

    /// Frees what is only needed while there is something to write.
    pub fn rest(&mut self) {
        self.batch = Vec::new();
    }

    /// A full disk must not stop the container: what cannot be written is lost.
    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(limit) = self.options.max_size
            && self.size > 0
            && self.size + self.batch.len() as u64 > limit
        {
            self.rotate();
        }
        match self.file.write_all(&self.batch) {
            Ok(()) => self.size += self.batch.len() as u64,
            Err(_) => self.keep_whole_lines(),
        }
        self.batch.clear();
    }

    /// Of a batch that has not found room, the lines that are there as a whole. The part
    /// of a line would spoil the next one.
    fn keep_whole_lines(&mut self) {
        let end = self.file.metadata().map_or(self.size, |metadata| metadata.len());
        let written = (end.saturating_sub(self.size) as usize).min(self.batch.len());
        let last = self.batch[..written].iter().rposition(|byte| *byte == b'\n');
        let whole = self.size + last.map_or(0, |last| last as u64 + 1);
        if self.file.set_len(whole).is_ok() {
            self.size = whole;
        }
    }

    /// log.2 → log.3, log.1 → log.2, log → log.1, and a new log.
    fn rotate(&mut self) {
        let numbered = |n: u32| match n {
            0 => self.path.clone(),
            n => self.path.with_added_extension(n.to_string()),
        };
        let oldest = self.options.max_file.max(1) - 1;
        if oldest == 0 {
            let _ = fs::remove_file(numbered(0));
        }
        for n in (0..oldest).rev() {
            let _ = fs::rename(numbered(n), numbered(n + 1));
        }
        if let Ok(file) = append(&self.path) {
            self.file = file;
            self.size = 0;
        }
    }
}

fn append(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o640);
    options.open(path).doing(|| format!("open the log {}", path.display()))
}

/// What is kept with every line, as it is written there; nothing where that is nothing.
fn attributes(options: &LogOptions) -> Vec<u8> {
    if options.attributes.is_empty() {
        return Vec::new();
    }
    let json = serde_json::to_vec(&options.attributes).expect("texts are plain data");
    [b",\"attrs\":", &json[..]].concat()
}

/// One object and the end of its line.
fn object(out: &mut Vec<u8>, line: &[u8], stream: Stream, attributes: &[u8], time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, line);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\"");
    out.extend_from_slice(attributes);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// As a JSON string. What is no UTF-8 becomes U+FFFD, as Docker has it.
fn escape(out: &mut Vec<u8>, line: &[u8]) {
    // Nearly every line is plain, and whether it is can be seen many bytes at a time.
    if let Some((b'\n', text)) = line.split_last()
        && text.iter().fold(true, |plain, byte| plain & is_plain(*byte))
    {
        out.extend_from_slice(text);
        return out.extend_from_slice(b"\\n");
    }
    for chunk in line.utf8_chunks() {
        escape_text(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// A byte that stands for itself in a JSON string, whatever stands beside it.
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// Copies the long stretches that need no escape as a whole.
fn escape_text(out: &mut Vec<u8>, mut text: &[u8]) {
    let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    while let Some(at) = text.iter().position(special) {
        out.extend_from_slice(&text[..at]);
        match text[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (byte >> 4, byte & 15);
                out.extend_from_slice(b"\\u00");
                out.extend([HEX[usize::from(high)], HEX[usize::from(low)]]);
            }
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// The present as text; the date is only made anew when the second changes.
#[derive(Default)]
struct Clock {
    second: i64,
    date: String,
}

impl Clock {
    fn now(&mut self) -> String {
        let now = jiff::Timestamp::now();
        let second = now.as_second();
        if second != self.second || self.date.is_empty() {
            let whole = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
            self.date = whole.trim_end_matches('Z').to_owned();
            self.second = second;
        }
        let nanos = format!("{:09}", now.subsec_nanosecond());
        match nanos.trim_end_matches('0') {
            "" => format!("{}Z", self.date),
            nanos => format!("{}.{nanos}Z", self.date),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Line {
        log: String,
        stream: String,
        time: String,
    }

    fn written(folder: &Path) -> Vec<Line> {
        let text = fs::read_to_string(folder.join("log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_kept_whole_however_they_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(&folder.path().join("log"), LogOptions::default()).unwrap();
        log.take(Stream::Stdout, b"one\ntw");
        log.take(Stream::Stderr, b"oops \"\\\t\x01\xff\n");
        log.take(Stream::Stdout, b"o\nthr");
        log.finish(Stream::Stdout);
        let lines = written(folder.path());
        let texts: Vec<_> = lines.iter().map(|line| (&*line.stream, &*line.log)).collect();
        assert_eq!(
            texts,
            [
                ("stdout", "one\n"),
                ("stderr", "oops \"\\\t\u{1}\u{fffd}\n"),
                ("stdout", "two\n"),
                ("stdout", "thr"),
            ]
        );
        assert!(lines.iter().all(|line| line.time.parse::<jiff::Timestamp>().is_ok()));
    }

    #[test]
    fn a_long_line_is_told_in_parts_of_16_kib() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(&folder.path().join("log"), LogOptions::default()).unwrap();
        log.take(Stream::Stdout, &[b'x'; 40_000]);
        log.take(Stream::Stdout, b"\n");
        let lengths: Vec<_> = written(folder.path()).iter().map(|line| line.log.len()).collect();
        assert_eq!(lengths, [16_384, 16_384, 40_001 - 2 * 16_384]);
    }

    #[test]
    fn a_limited_log_keeps_its_newest_files() {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size: Some(200), max_file: 3, ..LogOptions::default() };
        let mut log = Log::open(&folder.path().join("log"), options).unwrap();
        for n in 0..20 {
            log.take(Stream::Stdout, format!("line {n}\n").as_bytes());
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert_eq!(written(folder.path()).last().unwrap().log, "line 19\n");
    }
}
