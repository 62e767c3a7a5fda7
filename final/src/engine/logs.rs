//! What a container has said: Docker's json-file log, read back.
//!
//! One line of JSON for each line of output:
//! `{"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use images::percent_encoded;
use jiff::Timestamp;
use serde::Deserialize;

use super::containers::Container;
use super::error::{Error, Result};
use crate::runtime::shim::Stream;
use crate::store::Status;

/// What to show of a log.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Go on until the container ends.
    pub follow: bool,
    /// Show standard output.
    pub stdout: bool,
    /// Show standard error.
    pub stderr: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Put before each line what is kept with it.
    pub details: bool,
    /// Nothing older than this.
    pub since: Option<Timestamp>,
    /// Nothing newer than this.
    pub until: Option<Timestamp>,
    /// Only so many lines from the end.
    pub tail: Option<usize>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    /// The line ends here, and `log` does not say so.
    #[serde(skip)]
    newline: bool,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    /// What is kept with it, by name.
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

impl<'a> Line<'a> {
    /// One line of the log; `None` if it is none.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::plain(bytes).or_else(|| serde_json::from_slice(bytes).ok())
    }

    /// A line as our shims write nearly all of them: these three fields in this order,
    /// and nothing in the text that is escaped but its end. Many times as quick as JSON.
    fn plain(bytes: &'a [u8]) -> Option<Self> {
        let text = bytes.strip_prefix(b"{\"log\":\"")?;
        let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (log, rest) = text.split_at(end);
        let rest = rest.strip_prefix(b"\\n\",\"stream\":\"")?;
        let (stream, rest) = match rest.strip_prefix(b"stdout") {
            Some(rest) => ("stdout", rest),
            None => ("stderr", rest.strip_prefix(b"stderr")?),
        };
        let time = rest.strip_prefix(b"\",\"time\":\"")?.strip_suffix(b"\"}\n")?;
        Some(Self {
            log: Cow::Borrowed(str::from_utf8(log).ok()?),
            newline: true,
            stream: stream.into(),
            time: Cow::Borrowed(str::from_utf8(time).ok()?),
            attrs: BTreeMap::new(),
        })
    }

    /// What is put before it: `2026-01-02T03:04:05Z tier=web,MODE=test `.
    fn prefix(&self, options: &Options) -> String {
        let mut prefix = String::new();
        if options.timestamps {
            prefix.extend([&*self.time, " "]);
        }
        if options.details && !self.attrs.is_empty() {
            let pair = |(key, value): (&String, &String)| format!("{}={}", form(key), form(value));
            let pairs: Vec<_> = self.attrs.iter().map(pair).collect();
            prefix.extend([&*pairs.join(","), " "]);
        }
        prefix
    }
}

/// As a form has it: what is no letter, digit, `-`, `_`, `.` or `~` as `%XX`, a space
/// as `+`.
fn form(text: &str) -> String {
    percent_encoded(text).replace("%20", "+")
}

/// A chunk is handed over when it has grown to this size, or at the log's end.
const CHUNK: usize = 64 * 1024;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A time of the API: seconds since the epoch with an optional fraction, or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Timestamp::from_nanosecond((seconds * 1e9) as i128).ok());
    seconds.map_or_else(|| text.parse(), Ok).map_err(|_| {
        Error::bad_parameter(format!(
            "invalid time {text}: seconds since 1970, or 2026-01-02T03:04:05Z"
        ))
    })
}

/// Sends the log in chunks, framed unless the container has a terminal, until its
/// end or until `sink` takes no more.
pub fn send(container: &Container, options: &Options, sink: &dyn Fn(Vec<u8>) -> bool) {
    // Whoever reads has gone, or the log has: there is nobody to tell.
    let _ = Reader { container, options, sink, chunk: Vec::new() }.run();
}

struct Reader<'a> {
    container: &'a Container,
    options: &'a Options,
    sink: &'a dyn Fn(Vec<u8>) -> bool,
    chunk: Vec<u8>,
}

impl Reader<'_> {
    fn run(mut self) -> std::io::Result<()> {
        let older = self.older_files();
        let tail = self.options.tail;
        let current = match File::open(self.container.dir.log()) {
            Ok(file) => file,
            Err(_) if !self.options.follow => return Ok(()),
            Err(_) => File::open("/dev/null")?,
        };
        match tail {
            None => {
                for path in older {
                    let mut file = BufReader::with_capacity(CHUNK, File::open(path)?);
                    self.read_to_end(&mut file)?;
                }
            }
            Some(lines) => self.send_tail(older, &current, lines)?,
        }
        self.follow(current)
    }

    /// The rotated files, the oldest first: `log.2`, `log.1`.
    fn older_files(&self) -> Vec<PathBuf> {
        let path = |n: u32| self.container.dir.path().join(format!("log.{n}"));
        let mut older: Vec<_> = (1..).map(path).take_while(|path| path.exists()).collect();
        older.reverse();
        older
    }

    /// The last lines of the older files, as far as the current one has not enough.
    fn send_tail(
        &mut self,
        older: Vec<PathBuf>,
        current: &File,
        lines: usize,
    ) -> std::io::Result<()> {
        let mut wanted = lines;
        let mut starts = Vec::new();
        for file in
            older.iter().rev().map(File::open).fold(vec![current.try_clone()?], |mut all, file| {
                all.extend(file);
                all
            })
        {
            let (offset, found) = last_lines(&file, wanted)?;
            starts.push((file, offset));
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        for (mut file, offset) in starts.into_iter().skip(1).rev() {
            file.seek(SeekFrom::Start(offset))?;
            self.read_to_end(&mut BufReader::with_capacity(CHUNK, file))?;
        }
        let (offset, _) = last_lines(current, lines)?;
        (&mut &*current).seek(SeekFrom::Start(offset)).map(drop)
    }

    /// The current file, from where it stands, and on as it grows or is rotated.
    fn follow(&mut self, current: File) -> std::io::Result<()> {
        let mut file = BufReader::with_capacity(CHUNK, current);
        // To the end of this life: a restart begins another.
        let began = self.container.state().ok().and_then(|state| state.started_at);
        loop {
            // The order matters: what was written before the end is read after it.
            let live = self.options.follow
                && self.container.state().is_ok_and(|state| {
                    state.is_alive()
                        && state.status != Status::Restarting
                        && state.started_at == began
                });
            if !self.read_to_end(&mut file)? || !live {
                return Ok(());
            }
            if let Some(next) = self.rotated(file.get_ref())? {
                self.read_to_end(&mut file)?;
                file = BufReader::with_capacity(CHUNK, next);
            } else {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// The new current file, if the one at hand is not it any more.
    fn rotated(&self, file: &File) -> std::io::Result<Option<File>> {
        use std::os::unix::fs::MetadataExt;
        let Ok(next) = File::open(self.container.dir.log()) else { return Ok(None) };
        Ok((next.metadata()?.ino() != file.metadata()?.ino()).then_some(next))
    }

    /// All whole lines from here to the end; false if nobody wants more. A line
    /// that is not whole yet is left for the next time.
    fn read_to_end(&mut self, file: &mut BufReader<File>) -> std::io::Result<bool> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = file.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                file.seek_relative(-(read as i64))?;
                return Ok(self.flush());
            }
            if !self.take(&line) || self.chunk.len() >= CHUNK && !self.flush() {
                return Ok(false);
            }
        }
    }

    /// Adds one line to the chunk; false if the log's end for us has come.
    fn take(&mut self, line: &[u8]) -> bool {
        let Some(line) = Line::parse(line) else { return true };
        let stderr = line.stream == "stderr";
        if if stderr { !self.options.stderr } else { !self.options.stdout } {
            return true;
        }
        if self.options.since.is_some() || self.options.until.is_some() {
            let Ok(time) = line.time.parse::<Timestamp>() else { return true };
            if self.options.since.is_some_and(|since| time < since) {
                return true;
            }
            if self.options.until.is_some_and(|until| time > until) {
                self.flush();
                return false;
            }
        }
        let prefix = line.prefix(self.options);
        if !self.container.record.tty() {
            let length = line.log.len() + usize::from(line.newline) + prefix.len();
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            self.chunk.extend_from_slice(&stream.frame_header(length));
        }
        self.chunk.extend_from_slice(prefix.as_bytes());
        self.chunk.extend_from_slice(line.log.as_bytes());
        if line.newline {
            self.chunk.push(b'\n');
        }
        true
    }

    fn flush(&mut self) -> bool {
        self.chunk.is_empty() || (self.sink)(std::mem::take(&mut self.chunk))
    }
}

/// Where the last `wanted` lines of a file begin, and how many there are.
fn last_lines(mut file: &File, wanted: usize) -> std::io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let size = end;
    let (mut found, mut buffer) = (0, vec![0; CHUNK]);
    if wanted == 0 {
        return Ok((size, 0));
    }
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let block = &mut buffer[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let position = begin + at as u64 + 1;
            // The newline at the very end closes the last line; it begins none.
            if position < size {
                found += 1;
                if found == wanted {
                    return Ok((position, found));
                }
            }
        }
        end = begin;
    }
    Ok((0, found + usize::from(size > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_means_what_its_json_means() {
        for text in [
            r#"{"log":"hello world\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}"#,
            r#"{"log":"\n","stream":"stderr","time":"2026-01-02T03:04:05Z"}"#,
            r#"{"log":"a \"quote\"\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}"#,
            r#"{"log":"no end","stream":"stdout","time":"2026-01-02T03:04:05Z"}"#,
            r#"{"log":"wörter\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}"#,
            r#"{"stream":"stdout","log":"order\n","time":"2026-01-02T03:04:05Z"}"#,
        ] {
            let bytes = format!("{text}\n").into_bytes();
            let json: Line = serde_json::from_slice(&bytes).unwrap();
            let ours = Line::parse(&bytes).unwrap();
            let log = format!("{}{}", ours.log, if ours.newline { "\n" } else { "" });
            assert_eq!(
                (&*log, &*ours.stream, &*ours.time),
                (&*json.log, &*json.stream, &*json.time)
            );
        }
        assert!(Line::parse(b"{\"log\":\"torn").is_none());
    }
}
