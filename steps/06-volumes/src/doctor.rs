//! What this lesson asks of a machine, on top of the earlier ones.

use std::path::Path;

use namespaces::doctor::Check;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

/// The earlier lessons' checks, and those of the place where volumes are kept.
pub fn checks(root: &Path) -> Vec<Check> {
    let mut checks = images::doctor::checks(root);
    for check in networking::doctor::checks().into_iter().chain([place(root)]) {
        // Both bring what they have of the lessons before.
        if !checks.iter().any(|known| known.name == check.name) {
            checks.push(check);
        }
    }
    checks
}

/// The nearest directory that exists is where the others will be made.
fn place(root: &Path) -> Check {
    const NAME: &str = "place for volumes";
    let above = root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let (root, above) = (root.display(), above.to_owned());
    if access(&above, AccessFlags::W_OK).is_err() {
        return Check::fail(
            NAME,
            format!("{} is not ours to write to", above.display()),
            "pass --root, or set CORACLE_ROOT",
        );
    }
    let free = statvfs(&above).map_or(0, |disk| disk.blocks_available() * disk.fragment_size());
    let told = format!("{root}, {} free", cgroups::size::human(free));
    match free < 100 << 20 {
        true => Check::warn(NAME, told, "free some space, or pass --root on another disk"),
        false => Check::ok(NAME, told),
    }
}
