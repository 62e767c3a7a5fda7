//! The network of an ordinary user's container.
//!
//! Only root may lay a cable to the host's network. pasta(1) needs no cable: it
//! gives the container's namespace an interface whose packets it reads itself,
//! as a program, and speaks for the container with ordinary sockets.
//!
//! ```text
//! <root>/networks/pasta/<container>.json  the Owner: whose pasta this is
//! <root>/networks/pasta/<container>.pid   pasta's pid, which pasta writes
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use namespaces::explain::step;
use namespaces::{Child, CloneArgs, Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bridge::disable_ipv6;
use crate::files::Reach;
use crate::lease::Owner;
use crate::listen::{self, Listener};
use crate::network::Networks;
use crate::port::{Port, Protocol, Published};
use crate::tool::{self, search_path};

const CHAPTER: u8 = 5;

/// Where pasta answers name queries, in the name of the host's own name server,
/// which may listen on the host's loopback only.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// A pasta process for one container.
pub struct Pasta {
    dir: PathBuf,
    container: String,
    owner: Owner,
    ports: Vec<Published>,
    /// Until the clone.
    listeners: Vec<Listener>,
    over: bool,
}

impl Pasta {
    /// Whether containers can have a network this way.
    ///
    /// # Errors
    ///
    /// pasta is not installed, or may not make its interface: what to do about it.
    pub fn usable() -> Result<()> {
        let error = Error::new("an ordinary user's container needs pasta for its network");
        if !is_installed() {
            return Err(error.hint("install the package passt, or run with --network none"));
        }
        match may_open_tun() {
            true => Ok(()),
            false => Err(error.hint(
                "it cannot open /dev/net/tun: as root, modprobe tun and chmod 0666 /dev/net/tun, \
                 or run with --network none",
            )),
        }
    }

    /// Finds pasta and makes sure that the ports are free.
    ///
    /// # Errors
    ///
    /// pasta is not installed, or a port is in use.
    pub fn reserve(networks: &Networks, container: &str, ports: &[Port]) -> Result<Self> {
        Self::usable()?;
        let dir = networks.pasta_dir();
        fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        sweep(&dir)?;
        let listeners = listen::open_all(ports)?;
        let pasta = Self {
            dir,
            container: container.into(),
            owner: Owner::this(),
            ports: listeners.iter().map(|listener| listener.published.clone()).collect(),
            listeners,
            over: false,
        };
        let path = pasta.path("json");
        let owner = serde_json::to_vec(&pasta.owner).unwrap_or_default();
        fs::write(&path, owner).doing(|| format!("write {}", path.display()))?;
        Ok(pasta)
    }

    /// The container's ports, with the host ports that were chosen.
    pub fn published(&self) -> &[Published] {
        &self.ports
    }

    /// pasta answers where the host's name servers cannot be reached.
    pub fn reach(&self) -> Reach {
        Reach::Own { fallback: [Some(NAME_SERVER), None] }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.container))
    }
}

impl Mechanism for Pasta {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= libc::CLONE_NEWNET as u64;
        // pasta opens the ports itself. Whoever is cloned from here on would hold
        // copies of our sockets, and the ports with them.
        self.listeners.clear();
        Ok(())
    }

    /// pasta joins the child's user and network namespaces, and goes to the
    /// background when the interface is ready.
    fn in_parent(&mut self, child: &Child) -> Result<()> {
        let words = arguments(&self.path("pid"), &self.ports, child.pid.as_raw() as u32);
        step(
            CHAPTER,
            || format!("pasta {}", words.join(" ")),
            || {
                let mut pasta = Command::new("pasta");
                pasta.args(&words).env("PATH", search_path());
                pasta.stdin(Stdio::null()).stdout(Stdio::null());
                // Not a pipe: pasta's daemon would hold it open for as long as it lives.
                let log = self.path("log");
                let file = fs::File::create(&log).doing(|| format!("create {}", log.display()))?;
                let status = pasta.stderr(file).status().doing(|| "start pasta")?;
                let said = fs::read(&log).unwrap_or_default();
                let _ = fs::remove_file(&log);
                match status.success() {
                    true => Ok(()),
                    false => Err(refusal(&said)),
                }
            },
        )
    }

    fn in_child(&self) -> Result<()> {
        // pasta has made and configured the interface. Told to speak IPv4 only, it
        // would not answer on the host's [::1] either; so IPv6 ends here.
        let index = nix::net::if_::if_nameindex().doing(|| "list the interfaces")?;
        for interface in index.iter() {
            let name = interface.name().to_string_lossy();
            if name != "lo" {
                disable_ipv6(&name)?;
            }
        }
        Ok(())
    }

    fn teardown(&mut self) -> Result<()> {
        self.listeners.clear();
        if !std::mem::replace(&mut self.over, true) {
            end(&self.dir, &self.container);
        }
        Ok(())
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        if self.owner.pid == std::process::id() {
            let _ = self.teardown();
        }
    }
}

/// True if there is a program `pasta`.
pub(crate) fn is_installed() -> bool {
    tool::is_installed("pasta")
}

/// True if this user may make the interface that pasta needs.
pub(crate) fn may_open_tun() -> bool {
    fs::File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

// ANCHOR: arguments
/// Forward these ports and nothing else, neither in nor out by the loopback.
fn arguments(pid_file: &Path, ports: &[Published], pid: u32) -> Vec<String> {
    let mut words: Vec<String> =
        ["--config-net", "--stderr", "--no-map-gw", "--dns-forward"].map(String::from).into();
    words.extend([NAME_SERVER.to_string(), "--pid".into(), pid_file.display().to_string()]);
    for (protocol, flag) in [(Protocol::Tcp, "-t"), (Protocol::Udp, "-u")] {
        let specs: Vec<String> =
            ports.iter().filter(|port| port.protocol == protocol).map(forward).collect();
        let specs = if specs.is_empty() { vec!["none".into()] } else { specs };
        words.extend(specs.into_iter().flat_map(|spec| [flag.to_string(), spec]));
    }
    words.extend(["-T", "none", "-U", "none"].map(String::from));
    words.push(pid.to_string());
    words
}
// ANCHOR_END: arguments

fn forward(port: &Published) -> String {
    let ip = port.host_ip.filter(|ip| !ip.is_unspecified());
    let ip = ip.map(|ip| format!("{ip}/")).unwrap_or_default();
    format!("{ip}{}:{}", port.host, port.container)
}

fn refusal(said: &[u8]) -> Error {
    // It reports each line to the system's log too, and complains if there is none.
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().rev();
    let why = lines.find(|line| !line.contains("to syslog")).unwrap_or("no reason given");
    let error = Error::new(format!("pasta: {why}"));
    if why.contains("/dev/net/tun") {
        return error.hint("/dev/net/tun must be open to ordinary users: mode 0666");
    }
    error
}

/// Ends the pasta processes whose owners are dead.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let owner: Option<Owner> =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let (false, Some(container)) = (owner.is_some_and(|o| o.is_alive()), path.file_stem()) {
            end(dir, &container.to_string_lossy());
        }
    }
    Ok(())
}

/// Ends one, if it is there; its interface and ports go with it.
pub(crate) fn end(dir: &Path, container: &str) {
    let file = |extension: &str| dir.join(format!("{container}.{extension}"));
    let pid = fs::read_to_string(file("pid")).ok().and_then(|text| text.trim().parse().ok());
    // After a crash the number may mean another process by now.
    let is_pasta = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("pasta") || name.starts_with("passt")
    };
    if let Some(pid) = pid.filter(is_pasta) {
        // It is the first process of a pid namespace of its own, and deaf to SIGTERM.
        let asked = kill(Pid::from_raw(pid), Signal::SIGKILL);
        debug_assert!(matches!(asked, Ok(()) | Err(Errno::ESRCH)));
    }
    for extension in ["pid", "log", "json"] {
        let _ = fs::remove_file(file(extension));
    }
}

/// The pasta folder's owner is [`Networks`]: the files are part of its layout.
impl Networks {
    pub(crate) fn pasta_dir(&self) -> PathBuf {
        self.dir().join("pasta")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::parse_publish;

    #[test]
    fn pasta_forwards_the_published_ports_and_nothing_else() {
        let port = |spec: &str| {
            let port = &parse_publish(spec).unwrap()[0];
            let Port { host_ip, host, container, protocol } = *port;
            Published { host_ip, host: host.0, container, protocol }
        };
        let ports = ["8080:80", "127.0.0.1:9090:90", "[::1]:9091:91", "53:53/udp"].map(port);
        let show = |ports: &[Published]| arguments(Path::new("/r/c.pid"), ports, 7).join(" ");
        insta::assert_snapshot!(show(&ports), @"--config-net --stderr --no-map-gw --dns-forward 169.254.1.1 --pid /r/c.pid -t 8080:80 -t 127.0.0.1/9090:90 -t ::1/9091:91 -u 53:53 -T none -U none 7");
        insta::assert_snapshot!(show(&[]), @"--config-net --stderr --no-map-gw --dns-forward 169.254.1.1 --pid /r/c.pid -t none -u none -T none -U none 7");
    }
}
