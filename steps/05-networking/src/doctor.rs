//! What this machine lacks for containers with a network.

use std::fs;

use namespaces::doctor::Check;

use crate::{nfnetlink, pasta, tool};

/// The checks of the lessons before, and this one's.
pub fn checks() -> Vec<Check> {
    let mut checks = cgroups::doctor::checks();
    checks.extend(Facts::gather().judge());
    checks
}

/// What was found, before anybody has an opinion on it.
struct Facts {
    root: bool,
    /// The program nft is installed.
    nft: bool,
    /// The kernel answers questions about nftables.
    nftables: bool,
    /// Packets are passed on from one interface to another.
    forwarding: bool,
    /// The program pasta is installed.
    pasta: bool,
    /// This user may open /dev/net/tun.
    tun: bool,
}

impl Facts {
    fn gather() -> Self {
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
        Self {
            root: nix::unistd::geteuid().is_root(),
            nft: tool::is_installed("nft"),
            nftables: nfnetlink::table_exists("coracle0").is_ok(),
            forwarding: forwarding.is_ok_and(|text| text.trim() == "1"),
            pasta: pasta::is_installed(),
            tun: pasta::may_open_tun(),
        }
    }

    fn judge(&self) -> Vec<Check> {
        if self.root { self.judge_bridge() } else { self.judge_pasta() }
    }

    fn judge_bridge(&self) -> Vec<Check> {
        let nft = match (self.nft, self.nftables) {
            (true, true) => Check::ok("nftables", "nft is installed, and the kernel answers"),
            (false, _) => Check::warn(
                "nftables",
                "nft is not installed: no way out of the bridge, ports by the proxy only",
                "install nftables",
            ),
            (true, false) => Check::warn(
                "nftables",
                "the kernel does not answer: no way out of the bridge, ports by the proxy only",
                "load the kernel module nf_tables",
            ),
        };
        let forwarding = match self.forwarding {
            true => Check::ok("forwarding", "net.ipv4.ip_forward is 1"),
            false => Check::ok("forwarding", "off; the first container on a bridge turns it on"),
        };
        vec![nft, forwarding]
    }

    fn judge_pasta(&self) -> Vec<Check> {
        vec![match (self.pasta, self.tun) {
            (true, true) => Check::ok("pasta", "installed, and /dev/net/tun is open to you"),
            (false, _) => Check::warn(
                "pasta",
                "not installed: as this user, only --network none and host",
                "install the package passt",
            ),
            (true, false) => Check::warn(
                "pasta",
                "/dev/net/tun cannot be opened: as this user, only --network none and host",
                "as root: modprobe tun; chmod 0666 /dev/net/tun",
            ),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use namespaces::doctor::render;

    #[test]
    fn every_lack_comes_with_a_way_out() {
        let poor = Facts {
            root: true,
            nft: false,
            nftables: true,
            forwarding: false,
            pasta: false,
            tun: false,
        };
        insta::assert_snapshot!(render(&poor.judge()), @r"
            warn  nftables    nft is not installed: no way out of the bridge, ports by the proxy only
                              -> install nftables
              ok  forwarding  off; the first container on a bridge turns it on
        ");
        insta::assert_snapshot!(render(&Facts { root: false, ..poor }.judge()), @r"
            warn  pasta  not installed: as this user, only --network none and host
                         -> install the package passt
        ");
    }
}
