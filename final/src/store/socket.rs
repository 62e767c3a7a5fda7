//! Unix sockets at paths of any length.
//!
//! A socket's address holds 108 bytes, and a path to a container's folder can be
//! longer. `/proc/self/fd/N/shim.sock` always fits, N being the folder.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens on `folder/name`, in the place of whoever listened there and died.
pub fn bind(folder: &Path, name: &str) -> io::Result<UnixListener> {
    let _ = std::fs::remove_file(folder.join(name));
    let (_open, short) = short(folder, name)?;
    let listener = UnixListener::bind(&short)?;
    // Connecting takes the right to write, whatever the umask of this process is.
    std::fs::set_permissions(short, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to `folder/name`.
pub fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let (_open, short) = short(folder, name)?;
    UnixStream::connect(short)
}

fn short(folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let folder = File::options().read(true).custom_flags(flags).open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_may_be_deeper_than_its_address_is_long() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let listener = bind(&deep, "s").unwrap();
        connect(&deep, "s").unwrap();
        listener.accept().unwrap();
        bind(&deep, "s").unwrap();
    }
}
