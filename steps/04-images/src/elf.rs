//! What a program needs to run: its loader, its libraries, and theirs.
//!
//! `ldd` would tell, but it does so by letting the program's own loader run. Here
//! nothing runs: the files are read, and the search of ld.so(8) is done over again.

mod cache;
mod closure;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use cache::Cache;
pub use closure::{Closure, Loader, musl_path_file};

/// Which processor, in which mode. Libraries must have their program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// 64-bit (ELFCLASS64), else 32-bit.
    wide: bool,
    /// Least significant byte first (ELFDATA2LSB).
    little: bool,
    /// `EM_X86_64` and its kin.
    machine: u16,
}

/// What the loader reads of an ELF file. See elf(5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    kind: Kind,
    /// The loader that the program names (`PT_INTERP`).
    interpreter: Option<String>,
    /// The name that a library goes by (`DT_SONAME`).
    soname: Option<String>,
    /// The names of libraries, in the order of loading (`DT_NEEDED`).
    needed: Vec<String>,
    /// Where to look for what this *and what it loads* needs (`DT_RPATH`).
    rpath: Option<String>,
    /// Where to look for what this needs, and nothing else (`DT_RUNPATH`).
    runpath: Option<String>,
    /// Not in the default folders (`DF_1_NODEFLIB`).
    no_default: bool,
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;

/// No table that the loader reads is larger, so a broken file cannot ask for more.
const MOST: u64 = 4 << 20;

impl Elf {
    /// Reads a file; nothing if it is no ELF file, or a broken one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut ident = [0; 20];
        match file.read_exact_at(&mut ident, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        if &ident[..4] != b"\x7fELF" {
            return Ok(None);
        }
        let (wide, little) = (ident[4] == 2, ident[5] == 1);
        let machine = number(&ident[18..20], little) as u16;
        let image = Image { file: &file, kind: Kind { wide, little, machine } };
        match image.parse() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            other => other,
        }
    }
}

/// A file with the rules for reading its numbers.
struct Image<'a> {
    file: &'a File,
    kind: Kind,
}

/// One line of the program headers: a piece of the file, and where it goes in memory.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    length: u64,
}

impl Image<'_> {
    fn parse(&self) -> io::Result<Option<Elf>> {
        let segments = self.segments()?;
        let interpreter = match segments.iter().find(|segment| segment.kind == PT_INTERP) {
            Some(segment) => text(&self.bytes(segment.offset, segment.length)?, 0),
            None => None,
        };
        let mut elf = Elf {
            kind: self.kind,
            interpreter,
            soname: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
            no_default: false,
        };
        let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
            return Ok(Some(elf));
        };
        let tags = self.tags(dynamic)?;
        let value = |tag| tags.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
        let (Some(address), Some(length)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
            return Ok(Some(elf));
        };
        let Some(offset) = offset_of(&segments, address) else { return Ok(None) };
        let strings = self.bytes(offset, length)?;
        let string = |tag| value(tag).and_then(|at| text(&strings, at));
        elf.soname = string(DT_SONAME);
        elf.runpath = string(DT_RUNPATH);
        // The loader takes no notice of an RPATH beside a RUNPATH.
        elf.rpath = string(DT_RPATH).filter(|_| elf.runpath.is_none());
        elf.no_default = value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_NODEFLIB != 0);
        let needed = tags.iter().filter(|(tag, _)| *tag == DT_NEEDED);
        elf.needed = needed.filter_map(|(_, at)| text(&strings, *at)).collect();
        Ok(Some(elf))
    }

    /// The program headers.
    fn segments(&self) -> io::Result<Vec<Segment>> {
        // Offsets of e_phoff and e_phentsize in the header, for either class.
        let header = self.bytes(0, if self.kind.wide { 64 } else { 52 })?;
        let (phoff, phentsize) = if self.kind.wide { (32, 54) } else { (28, 42) };
        let start = self.word(&header[phoff..]);
        let size = number(&header[phentsize..phentsize + 2], self.kind.little);
        let count = number(&header[phentsize + 2..phentsize + 4], self.kind.little);
        if size < if self.kind.wide { 56 } else { 32 } {
            return Ok(Vec::new());
        }
        let table = self.bytes(start, size * count)?;
        Ok(table.chunks_exact(size as usize).map(|line| self.segment(line)).collect())
    }

    fn segment(&self, line: &[u8]) -> Segment {
        // The 64-bit header has the flags in second place, for alignment.
        let (offset, address, length) = if self.kind.wide { (8, 16, 32) } else { (4, 8, 16) };
        Segment {
            kind: number(&line[..4], self.kind.little),
            offset: self.word(&line[offset..]),
            address: self.word(&line[address..]),
            length: self.word(&line[length..]),
        }
    }

    /// The dynamic section: tags and their values.
    fn tags(&self, dynamic: &Segment) -> io::Result<Vec<(u64, u64)>> {
        let size = if self.kind.wide { 8 } else { 4 };
        let table = self.bytes(dynamic.offset, dynamic.length)?;
        let tags = table.chunks_exact(2 * size);
        let tags = tags.map(|line| (self.word(line), self.word(&line[size..])));
        Ok(tags.take_while(|(tag, _)| *tag != DT_NULL).collect())
    }

    /// The number that starts here, as wide as an address.
    fn word(&self, bytes: &[u8]) -> u64 {
        number(&bytes[..if self.kind.wide { 8 } else { 4 }], self.kind.little)
    }

    fn bytes(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if length > MOST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// A number of any width and either order.
fn number(bytes: &[u8], little: bool) -> u64 {
    let join = |number, byte: &u8| number << 8 | u64::from(*byte);
    if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) }
}

/// Where in the file an address of the memory comes from.
fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    let holds = |segment: &&Segment| {
        segment.kind == PT_LOAD
            && address.checked_sub(segment.address).is_some_and(|at| at < segment.length)
    };
    let segment = segments.iter().find(holds)?;
    (address - segment.address).checked_add(segment.offset)
}

/// The string that starts at `at` and ends in NUL.
fn text(bytes: &[u8], at: u64) -> Option<String> {
    let bytes = bytes.get(usize::try_from(at).ok()?..)?;
    let end = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}
