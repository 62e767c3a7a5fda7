//! Lease an address, so that nobody else gets it.
//!
//! A lease is a file whose name is the address, as on the page "Addresses". Write `lease`: of the
//! subnet's addresses, take the first one after the one that was leased last, round and round.
//! Number 0 is the subnet's own and the last one its broadcast address; number 1 is the
//! gateway's. The filesystem is the referee: two who ask at the same moment must not get the
//! same one. See `O_EXCL` in open(2).
//!
//! Minutes: 20

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::path::Path;

use networking::Subnet;

/// Leases an address of `subnet`. `last` is the number of the address that was leased last.
fn lease(leases: &Path, subnet: Subnet, last: u32) -> Result<(u32, Ipv4Addr)> {
    // YOURS: find the next free number, and let the filesystem decide who has it
    // SAYS: is its broadcast address
    let (first, count) = (2, subnet.size() - 2);
    for n in 0..count {
        let number = first + (last.saturating_sub(first - 1) + n) % count;
        let address = subnet.address(number);
        match File::create_new(leases.join(address.to_string())) {
            Ok(_) => return Ok((number, address)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::other("all addresses are taken"))
    // END
}

fn main() -> Result<()> {
    let subnet: Subnet = "10.80.0.0/29".parse().expect("a subnet");
    let folder = fresh("leases")?;
    let mut last = 0;
    let mut take = |who: &str| match lease(&folder, subnet, last) {
        Ok((number, address)) => {
            last = number;
            println!("{who} has {address}");
        }
        Err(error) => println!("{who} has none: {error}"),
    };
    take("ada");
    take("bob");
    take("cy");
    fs::remove_file(folder.join(subnet.address(2).to_string()))?;
    println!("ada is gone");
    take("dee");
    take("eve");
    take("fay");
    take("gus");

    let folder = fresh("race")?;
    let subnet: Subnet = "10.80.0.0/24".parse().expect("a subnet");
    let ask = || (0..20).map(|_| lease(&folder, subnet, 0)).collect::<Vec<_>>();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    let different: BTreeSet<_> = all.iter().flatten().map(|(_, address)| address).collect();
    println!("{} ask at once, and have {} addresses", all.len(), different.len());
    Ok(())
}

fn fresh(name: &str) -> Result<std::path::PathBuf> {
    let _ = fs::remove_dir_all(name);
    fs::create_dir(name)?;
    Ok(name.into())
}
