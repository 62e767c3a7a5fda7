//! The end of a container's folder.

use std::fs;
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result, userns};
use volumes::Volumes;

use crate::runtime::{AutoRemove, Instructions};
use crate::store::events::{Actor, Kind};
use crate::store::{self, ContainerDir, Events};

/// `--rm`: the container, its name, and the volumes that nobody has named.
///
/// # Errors
/// The first error; everything had its turn.
pub fn auto_remove(dir: &ContainerDir, removal: &AutoRemove) -> Result<()> {
    let id = dir.id();
    let actor = Actor::container(dir);
    let volumes = Volumes::open(dir.root()).and_then(|volumes| volumes.release(&id, true));
    // It may have been renamed since it was started.
    let now = store::read::<Instructions>(&dir.instructions()).ok().flatten();
    let renamed = now.and_then(|instructions| instructions.auto_remove);
    let there = dir.path().exists();
    let removed = remove(dir);
    // Last: a name without a container is found and taken back, and not the reverse.
    let released = dir.names().release(&renamed.as_ref().unwrap_or(removal).name, &id);
    if there && removed.is_ok() {
        Events::of(dir.root()).tell(Kind::Container, "destroy", actor);
    }
    removed.and(released).and(volumes.map(drop).map_err(Error::from))
}

/// Removes a container's folder and all that is in it. Its name among the containers
/// goes first, in one step: nobody ever sees half a container. Needs a process with
/// a single thread, if it is an ordinary user's.
pub fn remove(dir: &ContainerDir) -> Result<()> {
    let hidden = hidden(dir.path());
    match fs::rename(dir.path(), &hidden) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.doing(|| format!("remove {}", dir.path().display()))?,
    }
    let all = || fs::remove_dir_all(&hidden).doing(|| format!("remove {}", hidden.display()));
    // An ordinary user's container has files of users that only exist inside.
    match all() {
        Err(_) if userns::needed() => userns::run_in(all),
        result => result,
    }
}

/// `containers/.<id>.removed`: what begins with a dot is no container.
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.removed"))
}
