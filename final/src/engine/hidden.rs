//! Images that were removed by force, though stopped containers stand on their layers.
//!
//! To everyone they are gone. Their layers must stay, for such a container can be
//! started again; so they are kept, nameless and out of sight, until the last of these
//! containers is removed. `ROOT/hidden/<id>` is an empty file that says so. An image that
//! has a name again, for it was pulled again, is not hidden, whatever the file says.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use images::Image;

use super::Engine;
use super::error::Result;
use super::worker::{self, Job};

/// The hidden images of one root.
pub struct Hidden(PathBuf);

impl Hidden {
    /// Those kept under this root.
    pub fn of(root: &Path) -> Self {
        Self(root.join("hidden"))
    }

    /// Whether this image is one of them.
    pub fn has(&self, image: &Image) -> bool {
        image.references.is_empty() && self.file(&image.id.to_string()).exists()
    }

    /// Hides an image that has lost its last name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn hide(&self, image: &Image) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        fs::write(self.file(&image.id.to_string()), "")?;
        Ok(())
    }

    /// A file's name without a colon, which some tools take for a remote machine.
    fn file(&self, id: &str) -> PathBuf {
        self.0.join(id.strip_prefix("sha256:").unwrap_or(id))
    }
}

/// Removes for good what no container needs any more. What cannot be removed now stays
/// out of sight, and has its turn the next time.
pub fn clean_up(engine: &Engine) {
    let hidden = engine.images.hidden();
    let Ok(files) = fs::read_dir(&hidden.0) else { return };
    let Ok(containers) = engine.containers.all() else { return };
    let used: HashSet<_> = containers.into_iter().map(|found| found.record.image_id).collect();
    for file in files.flatten() {
        let id = format!("sha256:{}", file.file_name().to_string_lossy());
        if used.contains(&id) {
            continue;
        }
        let gone = match engine.images.below(&id) {
            Ok(image) if image.references.is_empty() => {
                let job = Job::Remove { image: id, force: false };
                worker::run(engine.root.data(), &job, |_| true).is_ok()
            }
            // It has a name again, or is not there any more.
            _ => true,
        };
        if gone {
            let _ = fs::remove_file(file.path());
        }
    }
}
