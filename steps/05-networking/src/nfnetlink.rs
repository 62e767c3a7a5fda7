//! Two questions to nftables that are not worth a process: is this table there,
//! and what does this chain look like? Asked in its own protocol, by hand: a
//! header of four bytes and attributes. See nfnetlink(7) of libnftnl.

use namespaces::{Context, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;

/// An answer is wanted even if it is only: done.
pub(crate) const ACK: u16 = libc::NLM_F_ACK as u16;
/// All that there are.
pub(crate) const DUMP: u16 = libc::NLM_F_DUMP as u16;

const SUBSYS_NFTABLES: u16 = 10 << 8;
const GET_TABLE: u16 = SUBSYS_NFTABLES | 1;
const GET_CHAIN: u16 = SUBSYS_NFTABLES | 4;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_HANDLE: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_POLICY: u16 = 5;
const CHAIN_USE: u16 = 6;

/// True if there is a table of this name in the family `ip`.
///
/// # Errors
///
/// The kernel has no nftables, or this process may not ask.
pub fn table_exists(name: &str) -> Result<bool> {
    let answer = ask(GET_TABLE, &[(TABLE_NAME, name)]);
    Ok(answer.doing(|| format!("ask nftables for table {name}"))?.is_some())
}

/// What changes when somebody edits a chain of the family `ip`: its handle, its
/// policy, and how many rules it has. `None` if there is no such chain.
pub fn chain_state(table: &str, chain: &str) -> Option<String> {
    let answer = ask(GET_CHAIN, &[(CHAIN_TABLE, table), (CHAIN_NAME, chain)]).ok()??;
    // nlmsghdr and nfgenmsg come before the attributes.
    let telling = attributes(answer.get(20..)?)
        .filter(|(kind, _)| matches!(*kind, CHAIN_HANDLE | CHAIN_POLICY | CHAIN_USE));
    let state = telling.map(|(kind, value)| {
        let number = value.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        format!("{kind}={number}")
    });
    Some(state.collect::<Vec<_>>().join(" "))
}

/// True if a chain of the family `ip` drops whatever no rule of it has judged.
pub fn chain_drops(table: &str, chain: &str) -> bool {
    let policy = format!("{CHAIN_POLICY}={}", libc::NF_DROP);
    chain_state(table, chain).is_some_and(|state| state.split(' ').any(|word| word == policy))
}

/// The attributes in a text of the kernel's, each with its kind and its value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *rest.first_chunk()?;
        let (length, kind) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        let value = rest.get(4..usize::from(length))?;
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & libc::NLA_TYPE_MASK as u16, value))
    })
}

/// A request to netfilter about the family `ip`.
pub(crate) fn message(question: u16, flags: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
    const NFPROTO_IPV4: u8 = libc::NFPROTO_IPV4 as u8;

    let mut body = vec![NFPROTO_IPV4, 0, 0, 0];
    for (kind, value) in attributes {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(question.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: one question, no doubt
    message.extend(body);
    message
}

/// One question, one answer; `None` if there is no such thing.
fn ask(question: u16, strings: &[(u16, &str)]) -> std::io::Result<Option<Vec<u8>>> {
    let texts: Vec<_> =
        strings.iter().map(|(kind, text)| (*kind, [text.as_bytes(), b"\0"].concat())).collect();
    let texts: Vec<_> = texts.iter().map(|(kind, text)| (*kind, &text[..])).collect();
    let message = message(question, 0, &texts);

    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let field = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    if kind != Some(libc::NLMSG_ERROR as u16) {
        return Ok(Some(answer));
    }
    match -field(16).map_or(0, i32::from_ne_bytes) {
        errno if errno == Errno::ENOENT as i32 => Ok(None),
        errno => Err(std::io::Error::from_raw_os_error(errno)),
    }
}
