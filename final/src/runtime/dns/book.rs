//! Who is called what, on which network.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use networking::{Network, Networks, Subnet};

use crate::runtime::Link;

/// The networks that a container asks about, in its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book(pub Vec<Page>);

/// One network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name.
    pub network: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// Who is on it, by address, and every name they have.
    pub neighbours: Vec<(Ipv4Addr, Vec<String>)>,
}

/// Who has an address.
#[derive(Debug, PartialEq, Eq)]
pub enum Holder {
    /// Somebody with this name.
    Name(String),
    /// Nobody, though it is an address of ours.
    Nobody,
    /// It is none of ours.
    Foreign,
}

impl Book {
    /// All who have this name on the first network that knows it: `web`, or with the
    /// network's name `web.backend`. Empty: nobody has it.
    pub fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let on = |page: &Page, name: &str| {
            let named = |names: &[String]| names.iter().any(|one| one.eq_ignore_ascii_case(name));
            let all = page.neighbours.iter().filter(|(_, names)| named(names));
            all.map(|(address, _)| *address).collect::<Vec<_>>()
        };
        let plain = self.0.iter().map(|page| on(page, name));
        let qualified = self.0.iter().filter_map(|page| {
            let (head, tail) =
                name.split_at_checked(name.len().checked_sub(page.network.len())?)?;
            let head = head.strip_suffix('.')?;
            tail.eq_ignore_ascii_case(&page.network).then(|| on(page, head))
        });
        plain.chain(qualified).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Who has an address: the name that comes first, with the network's.
    pub fn holder(&self, address: Ipv4Addr) -> Holder {
        let Some(page) = self.0.iter().find(|page| page.subnet.contains(address)) else {
            return Holder::Foreign;
        };
        let names = page.neighbours.iter().find(|(ip, _)| *ip == address);
        match names.and_then(|(_, names)| names.first()) {
            Some(name) => Holder::Name(format!("{name}.{}", page.network)),
            None => Holder::Nobody,
        }
    }
}

/// The book as it is on disk, read again when somebody comes or goes.
pub struct Zone {
    networks: Networks,
    links: Vec<Link>,
    ids: Vec<String>,
    read: Vec<Option<SystemTime>>,
    book: Book,
}

/// A folder's time of change has the kernel's tick for its smallest step: what is
/// that young may still change without a trace.
const YOUNG: Duration = Duration::from_millis(50);

impl Zone {
    /// The zone of nobody yet.
    pub fn new(networks: Networks) -> Self {
        Self {
            networks,
            links: Vec::new(),
            ids: Vec::new(),
            read: Vec::new(),
            book: Book::default(),
        }
    }

    /// From now on, these networks, and the asker's own names for others.
    pub fn cover<'a>(&mut self, networks: impl Iterator<Item = &'a Network>, links: &[Link]) {
        self.links = links.to_vec();
        (self.ids, self.read, self.book) = Default::default();
        for network in networks {
            let Network { id, name, subnet, .. } = network;
            self.ids.push(id.clone());
            self.read.push(None);
            let page = Page { network: name.clone(), subnet: *subnet, neighbours: Vec::new() };
            self.book.0.push(page);
        }
    }

    /// The book of this moment.
    pub fn book(&mut self) -> &Book {
        for ((id, read), page) in self.ids.iter().zip(&mut self.read).zip(&mut self.book.0) {
            let folder = self.networks.lease_folder(id);
            let changed = folder.metadata().and_then(|metadata| metadata.modified()).ok();
            if changed.is_some() && changed == *read {
                continue;
            }
            let leases = self.networks.glance(id).into_iter();
            page.neighbours =
                leases.map(|lease| (lease.address, with_links(lease.names, &self.links))).collect();
            let old = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > YOUNG);
            *read = changed.filter(old);
        }
        &self.book
    }
}

/// The names that everybody knows, and those that only the asker has for who has them.
fn with_links(mut names: Vec<String>, links: &[Link]) -> Vec<String> {
    let own: Vec<_> = links
        .iter()
        .filter(|link| names.contains(&link.container))
        .map(|link| link.name.clone())
        .collect();
    names.extend(own);
    names
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two networks, with one alias that three share.
    pub fn example() -> Book {
        let page = |network: &str, subnet: &str, neighbours: &[(&str, &[&str])]| Page {
            network: network.into(),
            subnet: subnet.parse().unwrap(),
            neighbours: neighbours
                .iter()
                .map(|(ip, names)| {
                    (ip.parse().unwrap(), names.iter().map(|n| (*n).to_owned()).collect())
                })
                .collect(),
        };
        Book(vec![
            page("back", "10.81.0.0/20", &[("10.81.0.2", &["db", "store"])]),
            page(
                "front.end",
                "10.82.0.0/20",
                &[
                    ("10.82.0.2", &["web1", "web"]),
                    ("10.82.0.3", &["web2", "web"]),
                    ("10.82.0.4", &["web3", "web"]),
                    ("10.82.0.5", &["db"]),
                ],
            ),
        ])
    }

    #[test]
    fn a_name_is_found_on_the_first_network_that_has_it() {
        let show = |name: &str| {
            let found = example().addresses(name);
            format!("{name}: {}", found.iter().map(|ip| format!("{ip} ")).collect::<String>())
        };
        let asked = ["db", "STORE", "web", "db.front.end", "web1.Front.End", "db.nope", "x", "."];
        insta::assert_snapshot!(asked.map(show).join("\n"), @r"
        db: 10.81.0.2 
        STORE: 10.81.0.2 
        web: 10.82.0.2 10.82.0.3 10.82.0.4 
        db.front.end: 10.82.0.5 
        web1.Front.End: 10.82.0.2 
        db.nope: 
        x: 
        .: 
        ");
    }

    #[test]
    fn an_address_has_a_name_or_is_nobodys_or_foreign() {
        let holder = |ip: &str| example().holder(ip.parse().unwrap());
        assert_eq!(holder("10.82.0.3"), Holder::Name("web2.front.end".into()));
        assert_eq!(holder("10.82.0.9"), Holder::Nobody);
        assert_eq!(holder("192.0.2.1"), Holder::Foreign);
    }
}
