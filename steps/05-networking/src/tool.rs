//! Programs of the host that do part of the work: nft, iptables, pasta.

/// Where they live, also when sudo or a unit file has a short PATH.
pub(crate) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// True if there is a program of this name.
pub(crate) fn is_installed(name: &str) -> bool {
    std::env::split_paths(&search_path()).any(|folder| folder.join(name).is_file())
}

/// What a program complains about, in one line.
pub(crate) fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().next().unwrap_or("no reason given");
    line.trim_start_matches("/dev/stdin:").to_string()
}
