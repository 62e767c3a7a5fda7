//! What can go wrong with a volume, by who can mend it.

/// The result of everything that this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One sentence, in Docker's words where Docker has some, and the kind that a caller
/// needs to act on it (an HTTP status, an exit code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A specification, name or option that cannot be read.
    #[error("{0}")]
    Input(String),
    /// No such volume.
    #[error("{0}")]
    NotFound(String),
    /// A volume that a container still needs.
    #[error("{0}")]
    InUse(String),
    /// A record that a newer version wrote.
    #[error("{0}")]
    Newer(String),
    /// The kernel said no.
    #[error(transparent)]
    System(#[from] namespaces::Error),
}

impl From<Error> for namespaces::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::System(error) => error,
            other => namespaces::Error::new(other.to_string()),
        }
    }
}

/// An [`Error::Input`].
pub(crate) fn input<T>(sentence: impl Into<String>) -> Result<T> {
    Err(Error::Input(sentence.into()))
}
