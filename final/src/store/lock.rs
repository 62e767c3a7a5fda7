//! flock(2): a lock that the kernel takes back from a process that died.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held while it lives.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    /// Waits until the lock is free, and takes it.
    pub fn exclusive(path: &Path) -> Result<Self> {
        let what = || format!("lock {}", path.display());
        Self::wait_for(open(path).doing(what)?, what)
    }

    /// The same on a folder, for what is in it.
    pub fn folder(path: &Path) -> Result<Self> {
        let what = || format!("lock {}", path.display());
        Self::wait_for(File::open(path).doing(what)?, what)
    }

    fn wait_for(file: File, what: impl Fn() -> String) -> Result<Self> {
        Flock::lock(file, FlockArg::LockExclusive)
            .map(Self)
            .map_err(|(_, errno)| Error::os(what(), errno))
    }

    /// Takes the lock if it is free; `None` if somebody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let what = || format!("lock {}", path.display());
        let file = open(path).doing(what)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::os(what(), errno)),
        }
    }
}

/// The standard library opens close-on-exec: no program inherits the lock.
fn open(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }
}
