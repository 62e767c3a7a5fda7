//! `doctor`: what this machine lacks, before anything fails.

use std::path::Path;
use std::process::ExitCode;

/// `coracle doctor`
pub fn doctor(root: &Path) -> ExitCode {
    ExitCode::from(namespaces::doctor::report(&volumes::doctor::checks(root)))
}
