//! Write the rule that lets containers out.
//!
//! A container with the address 10.80.0.2 speaks to a machine outside. That machine knows no way
//! back to 10.80.0.0/16, so it must see the host's own address instead: masquerading. But the
//! container's neighbours on this host, which are in 10.80.0.0/16 too, must see who really speaks.
//! The interface to the outside is called `out`. Write the chain: which hook, which priority,
//! which rule? See nft(8), "NAT STATEMENTS", and the page "Ports".
//!
//! Minutes: 25
//! Needs: namespaces, program nft, program ip

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use namespaces::cli::exit_with;
use namespaces::{Context, Error, Result, userns};
use nix::sched::{CloneFlags, unshare};

/// A whole table, as `nft -f` reads it.
fn rules() -> &'static str {
    // YOURS: a table with a chain that masquerades what leaves through `out`
    // SAYS: an address to which the outside knows no way back
    "table ip boat {
        chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip daddr 10.80.0.0/16 oifname \"out\" masquerade
        }
    }"
    // END
}

/// The host with three cables: to a container, to a neighbour of it, and to the outside, which
/// knows no way back to 10.80.0.0/16.
const SCENE: &str = "
    set -e
    end() { kill $box $peer $out 2>/dev/null || true; }
    trap end EXIT
    unshare --net sleep 20 & box=$!
    unshare --net sleep 20 & peer=$!
    unshare --net sleep 20 & out=$!
    apart() { test \"$(readlink /proc/$1/ns/net)\" != \"$(readlink /proc/self/ns/net)\"; }
    until apart $box && apart $peer && apart $out; do sleep 0.01; done
    cable() { # name, pid, the host's address, the other end's
        ip link add $1 type veth peer name eth0 netns $2
        ip addr add $3 dev $1
        ip link set $1 up
        nsenter --net --target $2 ip addr add $4 dev eth0
        nsenter --net --target $2 ip link set eth0 up
    }
    cable box $box 10.80.0.1/24 10.80.0.2/24
    cable peer $peer 10.80.1.1/24 10.80.1.2/24
    cable out $out 192.0.2.1/24 192.0.2.9/24
    nsenter --net --target $box ip route add default via 10.80.0.1
    nsenter --net --target $peer ip route add default via 10.80.1.1
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft -f rules.nft
    for to in peer out; do
        eval pid=\\$$to
        nsenter --net --target $pid \"$0\" listen $to & listener=$!
        case $to in peer) address=10.80.1.2 ;; out) address=192.0.2.9 ;; esac
        nsenter --net --target $box \"$0\" connect $address || true
        wait $listener
    done
";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", who] => listen(who),
        ["connect", address] => connect(address),
        _ => exit_with(if userns::needed() { userns::run_in(run) } else { run() }),
    }
}

fn run() -> Result<u8> {
    fs::write("rules.nft", rules()).doing(|| "write rules.nft")?;
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace")?;
    let own = std::env::current_exe().doing(|| "find this program")?;
    let mut shell = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    shell.args(["-c", SCENE]).arg(own).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let status = shell.status().doing(|| "start sh")?;
    match status.success() {
        true => Ok(0),
        false => Err(Error::new("the scene broke off: see above")),
    }
}

/// Says who connects.
fn listen(who: &str) {
    let place = if who == "out" { "the outside" } else { "the neighbour" };
    let listener = TcpListener::bind("0.0.0.0:7000").expect("listen");
    listener.set_nonblocking(true).expect("not block");
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match listener.accept() {
            Ok((_, peer)) => return println!("{place} sees {}", peer.ip()),
            Err(_) if Instant::now() > end => return println!("{place} sees nobody"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Tries until somebody listens.
fn connect(address: &str) {
    let address: SocketAddr = format!("{address}:7000").parse().expect("an address");
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        match TcpStream::connect_timeout(&address, Duration::from_millis(800)) {
            Ok(_) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
