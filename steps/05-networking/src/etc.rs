//! The three files of [`Files`], on the host's disk for as long as the container
//! lives, and as mounts in its root.

use std::fs;
use std::path::{Path, PathBuf};

use namespaces::{CloneArgs, Context, Mechanism, Result};
use rootfs::Mount;

use crate::endpoint::Files;

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of one container.
pub struct Etc {
    dir: PathBuf,
    files: Files,
}

impl Etc {
    /// They will be in the new folder `dir`.
    pub fn new(dir: impl Into<PathBuf>, files: Files) -> Self {
        Self { dir: dir.into(), files }
    }

    fn texts(&self) -> [(&'static str, &str); 3] {
        let Files { hosts, hostname, resolv_conf } = &self.files;
        [("hosts", hosts), ("hostname", hostname), ("resolv.conf", resolv_conf)]
    }

    /// The mounts that show them in the container.
    pub fn mounts(&self) -> Vec<Mount> {
        let mount = |name: &str| Mount::bind(self.dir.join(name), Path::new("/etc").join(name));
        self.texts().iter().map(|(name, _)| mount(name)).collect()
    }
}

impl Mechanism for Etc {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        fs::create_dir_all(&self.dir).doing(|| format!("create {}", self.dir.display()))?;
        for (name, text) in self.texts() {
            let path = self.dir.join(name);
            fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    fn teardown(&mut self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}
