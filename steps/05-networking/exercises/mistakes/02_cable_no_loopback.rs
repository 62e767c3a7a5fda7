//! Lay a cable into a container.
//!
//! The host has a bridge, `boat0`, with the address 10.80.0.1/24. Write the two halves of the
//! mechanism that connects a container to it: in the parent a veth pair, with one end, `cable`, on
//! the bridge and the other, `eth0`, born in the child's namespace; in the child the loopback and
//! `eth0` up, with the address 10.80.0.2. `Batch` in `steps/05-networking/src/netlink.rs` has all
//! that you need. See veth(4).
//!
//! Minutes: 30
//! Needs: namespaces

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use namespaces::cli::exit_with;
use namespaces::{Child, CloneArgs, Container, Context, Mechanism, Process, Result, userns};
use networking::netlink::{Batch, Veth, index_of};
use networking::{Subnet, mac};
use nix::sched::{CloneFlags, unshare};

const BRIDGE: &str = "boat0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);
const LOOPBACK: u32 = 1;

struct Cable;

impl Mechanism for Cable {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= CloneFlags::CLONE_NEWNET.bits() as u64;
        Ok(())
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        // YOURS: make a veth pair: one end on the bridge, the other in the child's namespace
        // SAYS: but it is down
        // In the parent, which is root over both namespaces. The peer is born inside under its
        // final name: out here there may be an eth0 already.
        let bridge = index_of(BRIDGE).unwrap_or(0);
        let cable = Veth {
            host: "cable",
            bridge,
            peer_pid: child.pid.as_raw() as u32,
            peer: "eth0",
            peer_mac: mac(ADDRESS),
            mtu: 1500,
        };
        Batch::new().add_veth(&cable).send()
        // END
    }

    fn in_child(&self) -> Result<()> {
        // YOURS: switch lo and eth0 on, and give eth0 its address
        let index = index_of("eth0").unwrap_or(0);
        Batch::new().add_address(index, "eth0", ADDRESS, subnet()).up(index, "eth0").send()
        // END
    }
}

fn subnet() -> Subnet {
    Subnet::around(ADDRESS, 24)
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("inside") => inside(),
        _ => exit_with(if userns::needed() { userns::run_in(run) } else { run() }),
    }
}

/// The host: a network namespace of our own, with a bridge.
fn run() -> Result<u8> {
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace")?;
    Batch::new().up(LOOPBACK, "lo").add_bridge(BRIDGE, mac(GATEWAY), 1500).send()?;
    let index = index_of(BRIDGE).unwrap_or(0);
    Batch::new().add_address(index, BRIDGE, GATEWAY, subnet()).send()?;
    let listener = TcpListener::bind((GATEWAY, 7000)).doing(|| "listen on the gateway")?;
    listener.set_nonblocking(true).doing(|| "not block")?;

    let own = std::env::current_exe().doing(|| "find this program")?;
    let mut running = Container::new(Process::new([own.into_os_string(), "inside".into()]))
        .with(Cable)
        .start()?;
    let code = running.wait()?.code();
    // Connections wait in the kernel's queue, also when the caller has gone.
    match listener.accept() {
        Ok((mut stream, peer)) => {
            let mut words = String::new();
            let _ = stream.read_to_string(&mut words);
            println!("the host hears {words:?} from {}", peer.ip());
        }
        Err(_) => println!("the host hears nothing"),
    }
    // The kernel takes a namespace down in its own time.
    let is_there = || index_of("cable").is_some();
    (0..200).take_while(|_| is_there()).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
    let left = if is_there() { "is still there" } else { "went with it" };
    println!("the container has ended, and the cable {left}");
    Ok(code)
}

/// The container's program.
fn inside() {
    let loopback =
        TcpListener::bind("127.0.0.1:0").and_then(|l| TcpStream::connect(l.local_addr()?));
    println!("inside, the loopback {}", if loopback.is_ok() { "works" } else { "does not work" });
    match TcpStream::connect((GATEWAY, 7000)) {
        Ok(mut stream) => {
            println!("inside, the gateway answers");
            let _ = stream.write_all(b"ahoy");
        }
        Err(error) => println!("inside, the gateway does not answer: {error}"),
    }
}
