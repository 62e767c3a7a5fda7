//! The search of the loader, as ld.so(8) tells it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Cache, Elf, Kind};

/// What a program needs besides its own file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The loader that the program names.
    pub interpreter: Option<PathBuf>,
    /// Libraries, in the order in which the loader maps them.
    pub libraries: Vec<PathBuf>,
    /// Libraries that are nowhere: the program will not start.
    pub missing: Vec<String>,
}

/// Looks for libraries where the host's loaders do.
#[derive(Default)]
pub struct Loader {
    cache: Cache,
    /// Files that have been looked into: `None` if they are no ELF files.
    seen: HashMap<PathBuf, Option<Rc<Elf>>>,
}

/// A file of the process to be.
struct Object {
    /// As the loader found it: `$ORIGIN` is its folder.
    path: PathBuf,
    elf: Rc<Elf>,
    /// Who needed it first, as an index; the program itself has nobody.
    needed_by: Option<usize>,
}

impl Loader {
    /// The host's loader, with its cache.
    pub fn of_host() -> Self {
        Self::new(Cache::of_host())
    }

    /// A loader with this cache.
    pub fn new(cache: Cache) -> Self {
        Self { cache, seen: HashMap::new() }
    }

    /// What `program` needs; nothing if it is no ELF file. A static program needs
    /// nothing, in a closure that is empty.
    ///
    /// # Errors
    ///
    /// If the program's own file cannot be read.
    pub fn closure(&mut self, program: &Path) -> io::Result<Option<Closure>> {
        let path = fs::canonicalize(program)?;
        let Some(elf) = self.look_into(&path)? else { return Ok(None) };
        let rules = Rules::of(&elf);
        let mut closure = Closure {
            interpreter: elf.interpreter.as_ref().map(PathBuf::from),
            ..Closure::default()
        };
        let mut loaded: HashSet<_> =
            closure.interpreter.as_deref().and_then(identity).into_iter().collect();
        let mut names = HashSet::new();
        let mut objects = vec![Object { path, elf, needed_by: None }];
        // Breadth first: what the program itself needs has the first choice of a name.
        let mut at = 0;
        while at < objects.len() {
            for name in objects[at].elf.needed.clone() {
                if rules.is_loader(&name) || !names.insert(name.clone()) {
                    continue;
                }
                let Some((path, elf)) = self.find(&name, at, &objects, &rules) else {
                    closure.missing.push(name);
                    continue;
                };
                // The same file may go by several names, and be the loader itself.
                names.extend(elf.soname.clone());
                if identity(&path).is_some_and(|identity| loaded.insert(identity)) {
                    closure.libraries.push(path.clone());
                    objects.push(Object { path, elf, needed_by: Some(at) });
                }
            }
            at += 1;
        }
        Ok(Some(closure))
    }

    /// A library of the host by its name alone, as `dlopen(3)` would find it for `program`.
    pub fn by_name(&mut self, name: &str, program: &Path) -> io::Result<Option<PathBuf>> {
        let path = fs::canonicalize(program)?;
        let Some(elf) = self.look_into(&path)? else { return Ok(None) };
        let rules = Rules::of(&elf);
        let objects = [Object { path, elf, needed_by: None }];
        Ok(self.find(name, 0, &objects, &rules).map(|(path, _)| path))
    }

    /// Where `objects[at]` finds the library `name`.
    fn find(
        &mut self,
        name: &str,
        at: usize,
        objects: &[Object],
        rules: &Rules,
    ) -> Option<(PathBuf, Rc<Elf>)> {
        let kind = objects[0].elf.kind;
        let candidates = if name.contains('/') {
            rules.expand(name, &objects[at].path)
        } else {
            let mut folders = rules.folders_of(at, objects);
            let no_default = objects[at].elf.no_default;
            let is_default = |path: &Path| rules.default.iter().any(|dir| path.starts_with(dir));
            let own = folders.drain(..).map(|dir| dir.join(name));
            let cached = self.cache.find(name).map(Path::to_owned);
            let cached = cached.filter(|path| !(no_default && is_default(path)));
            let default = rules.default.iter().filter(|_| !no_default).map(|dir| dir.join(name));
            own.chain(cached.filter(|_| !rules.is_musl)).chain(default).collect()
        };
        candidates.into_iter().filter(|path| path.is_absolute()).find_map(|path| {
            let elf = self.look_into(&path).ok()??;
            (elf.kind == kind).then_some((path, elf))
        })
    }

    fn look_into(&mut self, path: &Path) -> io::Result<Option<Rc<Elf>>> {
        if let Some(elf) = self.seen.get(path) {
            return Ok(elf.clone());
        }
        let elf = Elf::open(path)?.map(Rc::new);
        self.seen.insert(path.to_owned(), elf.clone());
        Ok(elf)
    }
}

/// What is particular to a loader and a processor.
struct Rules {
    is_musl: bool,
    /// Where the loader looks at last.
    default: Vec<PathBuf>,
    /// What `$LIB` stands for; distributions differ.
    lib: Vec<String>,
    /// What `$PLATFORM` stands for.
    platform: &'static str,
}

impl Rules {
    fn of(program: &Elf) -> Self {
        let interpreter = program.interpreter.as_deref().unwrap_or_default();
        let interpreter = interpreter.rsplit('/').next().unwrap_or_default();
        let (platform, triplet) = names(program.kind);
        let lib = [format!("lib/{triplet}"), "lib64".into(), "lib".into()];
        let lib = lib[if program.kind.wide { 0..3 } else { 2..3 }].to_vec();
        if let Some(musl) = interpreter.strip_prefix("ld-musl-") {
            let arch = musl.split('.').next().unwrap_or_default();
            let default = musl_folders(&musl_path_file(arch));
            return Self { is_musl: true, default, lib, platform };
        }
        let multiarch = [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")];
        let wide = ["/lib64", "/usr/lib64"].iter().filter(|_| program.kind.wide);
        let plain = wide.chain(&["/lib", "/usr/lib"]).map(|dir| (*dir).to_owned());
        let default = multiarch.into_iter().chain(plain).map(PathBuf::from).collect();
        Self { is_musl: false, default, lib, platform }
    }

    /// The folders that the files themselves name, for what `objects[at]` needs.
    fn folders_of(&self, at: usize, objects: &[Object]) -> Vec<PathBuf> {
        let asking = &objects[at];
        let mut folders = Vec::new();
        // A RUNPATH is for the needs of its own file, and puts all RPATHs out of force.
        // RPATHs are inherited, all the way up to the program. For musl both are RPATHs.
        if self.is_musl || asking.elf.runpath.is_none() {
            let mut next = Some(asking);
            while let Some(object) = next {
                let musl = object.elf.runpath.as_ref().filter(|_| self.is_musl);
                for path in object.elf.rpath.iter().chain(musl) {
                    folders.extend(self.folders(path, &object.path));
                }
                next = object.needed_by.map(|index| &objects[index]);
            }
        } else if let Some(path) = &asking.elf.runpath {
            folders.extend(self.folders(path, &asking.path));
        }
        folders
    }

    /// The folders of an RPATH or RUNPATH, which colons separate.
    fn folders(&self, path: &str, of: &Path) -> Vec<PathBuf> {
        path.split(':').flat_map(|folder| self.expand(folder, of)).collect()
    }

    /// Puts in what `$ORIGIN`, `$LIB` and `$PLATFORM` stand for.
    fn expand(&self, path: &str, of: &Path) -> Vec<PathBuf> {
        let origin = of.parent().and_then(Path::to_str).unwrap_or("/");
        let put = |path: &str, name: &str, value: &str| {
            path.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
        };
        let path = put(&put(path, "ORIGIN", origin), "PLATFORM", self.platform);
        let mut paths: Vec<PathBuf> =
            self.lib.iter().map(|lib| put(&path, "LIB", lib).into()).collect();
        paths.dedup();
        paths
    }

    /// musl's loader is its C library, under all of these names.
    fn is_loader(&self, name: &str) -> bool {
        let parts = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
        let part = name.strip_prefix("lib").and_then(|rest| rest.split('.').next());
        self.is_musl && part.is_some_and(|part| parts.contains(&part))
    }
}

/// Where musl's loader reads its folders from.
pub fn musl_path_file(arch: &str) -> PathBuf {
    format!("/etc/ld-musl-{arch}.path").into()
}

/// musl's folders: one per line, or with colons between them.
fn musl_folders(file: &Path) -> Vec<PathBuf> {
    let folders = fs::read_to_string(file);
    let folders = folders.as_deref().unwrap_or("/lib:/usr/local/lib:/usr/lib");
    folders.split([':', '\n']).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

/// Two paths to the same file are the same library.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The names of a processor: the kernel's, and the one in Debian's folders.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match (kind.machine, kind.wide, kind.little) {
        (62, true, _) => ("x86_64", "x86_64-linux-gnu"),
        (62, false, _) => ("x86_64", "x86_64-linux-gnux32"),
        (3, ..) => ("i686", "i386-linux-gnu"),
        (183, ..) => ("aarch64", "aarch64-linux-gnu"),
        (40, ..) => ("v7l", "arm-linux-gnueabihf"),
        (243, true, _) => ("riscv64", "riscv64-linux-gnu"),
        (21, _, true) => ("power8", "powerpc64le-linux-gnu"),
        (22, true, _) => ("s390x", "s390x-linux-gnu"),
        (258, true, _) => ("loongarch64", "loongarch64-linux-gnu"),
        _ => ("", ""),
    }
}
