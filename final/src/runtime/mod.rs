//! OCI runtime-spec in, mechanisms out, and the process that owns the container.

pub mod hardening;
pub mod seccomp;
mod sys;

/// The chapter of the book on capabilities, seccomp and the rest of the hardening.
const CHAPTER_SECURITY: u8 = 10;
