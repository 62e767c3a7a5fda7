//! What this program does inside of a container.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

/// `keyring`, `tiocsti`, or `steal WORD…`.
pub fn main(words: &[String]) -> ExitCode {
    match words.first().map(String::as_str) {
        Some("keyring") => println!("{}", session_keyring()),
        Some("tiocsti") => println!("{}", type_into_terminal()),
        Some("steal") => steal(&words[1..]),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// The number of this process's session keyring, or -1: keyctl(2).
#[allow(unsafe_code)]
pub fn session_keyring() -> i64 {
    const GET_KEYRING_ID: libc::c_int = 0;
    const SESSION: libc::c_int = -3;
    // SAFETY: takes numbers.
    unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION, 0) }
}

/// Puts a character into standard input as if it had been typed: ioctl_tty(2).
#[allow(unsafe_code)]
fn type_into_terminal() -> std::io::Error {
    let letter = b'x';
    // SAFETY: the kernel reads one byte, which outlives the call.
    match unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) } {
        -1 => std::io::Error::last_os_error(),
        _ => std::io::Error::other("it was typed"),
    }
}

/// Looks at every process that comes and goes, until `/tmp/stop` is there, and prints
/// what it can get hold of that has one of `words` in its path.
fn steal(words: &[String]) {
    let own = std::process::id().to_string();
    fs::write("/tmp/ready", "").expect("/tmp can be written to");
    let mut found = std::collections::BTreeSet::new();
    while !Path::new("/tmp/stop").exists() {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            if name != own && name.bytes().all(|byte| byte.is_ascii_digit()) {
                look(&entry.path(), words, &mut found);
            }
        }
    }
    found.iter().for_each(|line| println!("{line}"));
    println!("looked");
}

fn look(process: &Path, words: &[String], found: &mut std::collections::BTreeSet<String>) {
    let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links = ["exe", "cwd", "root"].map(|name| process.join(name)).into_iter();
    for link in links.chain(fds.map(|fd| fd.path())) {
        let Ok(target) = fs::read_link(&link) else { continue };
        let target = target.display().to_string();
        if words.iter().any(|word| target.contains(word)) && File::open(&link).is_ok() {
            found.insert(format!("{} is {target}", link.file_name().unwrap().display()));
        }
        if File::options().write(true).open(&link).is_ok() && target.starts_with("/proc/self/fd") {
            found.insert(format!("{target} can be written to"));
        }
    }
}
