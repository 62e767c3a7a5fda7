//! Hide what the container must not see.
//!
//! Some files and folders in a container are about the host. They cannot be removed, for they are
//! the kernel's, or the image's; so they are covered: a file by `/dev/null`, a folder by an empty
//! one that nobody can write to. What is not there needs no cover. Write the mechanism; the
//! chapter's page "What the host must not show" says how engines do it.
//!
//! Minutes: 20
//! Needs: namespaces
//! Observe: namespaces mnt

use std::fs;
use std::path::{Path, PathBuf};

use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, IdMaps, Mechanism, Namespaces, Process};
use namespaces::{Result, userns};
use nix::mount::{MsFlags, mount};

/// Covers one path.
fn mask(path: &Path) -> Result<()> {
    let none = None::<&str>;
    todo!("bind /dev/null on a file, mount an empty read-only tmpfs on a folder")
}

/// Hides these paths from the container, and from nobody else.
struct Masks(Vec<PathBuf>);

impl Mechanism for Masks {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= libc::CLONE_NEWNS as u64;
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).doing(|| "make the mounts private")?;
        self.0.iter().try_for_each(|path| mask(path))
    }
}

/// What the container finds of its secrets.
const SCRIPT: &str = "echo \"the key: $(wc -c <key) bytes\"; echo \"the folder: $(ls -A keys | wc -l) files\"; \
    { echo x >keys/new; } 2>/dev/null && echo 'I can write to the folder'; \
    echo \"the rest: $(cat open)\"; echo ready; read _ || true";

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let here = std::env::current_dir().doing(|| "find the current directory")?;
    fs::create_dir_all(here.join("keys")).doing(|| "mkdir keys")?;
    for (name, text) in [("key", "secret"), ("keys/one", "secret"), ("open", "nothing to hide")] {
        fs::write(here.join(name), text).doing(|| format!("write {name}"))?;
    }
    let mut namespaces = Namespaces::none();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let masks = Masks(["key", "keys", "not-there"].map(|name| here.join(name)).into());
    let mut process = Process::new(["sh", "-c", SCRIPT]);
    process.cwd = here.clone();
    let code = Container::new(process).with(namespaces).with(masks).start()?.wait()?.code();
    let key = fs::read_to_string(here.join("key")).doing(|| "read key")?;
    println!("the host still has its {key}");
    Ok(code)
}
