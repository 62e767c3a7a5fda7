//! From a question to its answer: a pure function of bytes and the book.

use std::net::Ipv4Addr;

use simple_dns::rdata::{OPT, PTR, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};
use simple_dns::{Question, ResourceRecord};

use super::book::{Book, Holder};

/// How long an answer holds, in seconds. Containers come and go.
const TTL: u32 = 5;

/// What a message over UDP may have where the client says nothing: RFC 1035, 4.2.1.
const PLAIN_UDP: usize = 512;

/// What we can take ourselves, by EDNS: RFC 6891, 6.2.5.
const OUR_UDP: u16 = 1232;

/// What is done about a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours: this message.
    Answer(Vec<u8>),
    /// Somebody else may know.
    Forward,
    /// It is no question.
    Ignore,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In one datagram, and so must the answer.
    Udp,
    /// In a stream.
    Tcp,
}

/// Judges a question. `turn` is another number each time: of several addresses each
/// comes first in its turn.
pub fn judge(message: &[u8], book: &Book, turn: usize, way: Way) -> Verdict {
    // Whoever answers an answer may never hear the end of it.
    if message.len() < 12 || message[2] & 0x80 != 0 {
        return Verdict::Ignore;
    }
    let Ok(query) = Packet::parse(message) else { return Verdict::Forward };
    let [question] = query.questions.as_slice() else { return Verdict::Forward };
    let ours = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    if query.opcode() != OPCODE::StandardQuery || !ours {
        return Verdict::Forward;
    }
    match find(question, book, turn) {
        None => Verdict::Forward,
        Some((records, code)) => Verdict::Answer(reply(&query, records, code, way)),
    }
}

/// Our records; none for what is ours but has no such record. `None`: not ours.
fn find<'a>(
    question: &Question<'a>,
    book: &Book,
    turn: usize,
) -> Option<(Vec<ResourceRecord<'a>>, RCODE)> {
    let name = question.qname.to_string();
    let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data);
    let asks_for = |typ| question.qtype == QTYPE::TYPE(typ) || question.qtype == QTYPE::ANY;
    if let Some(address) = reversed(&name) {
        return match book.holder(address) {
            Holder::Foreign => None,
            Holder::Nobody => Some((Vec::new(), RCODE::NameError)),
            Holder::Name(_) if !asks_for(TYPE::PTR) => Some((Vec::new(), RCODE::NoError)),
            Holder::Name(name) => {
                let name = Name::new(&name).ok()?.into_owned();
                Some((vec![record(RData::PTR(PTR(name)))], RCODE::NoError))
            }
        };
    }
    let mut addresses = book.addresses(&name);
    if addresses.is_empty() {
        return None;
    }
    // It is there, without an IPv6 address: never "no such name", which resolvers
    // take for the last word on all its records.
    if !asks_for(TYPE::A) {
        return Some((Vec::new(), RCODE::NoError));
    }
    let first = turn % addresses.len();
    addresses.rotate_left(first);
    let records = addresses.into_iter().map(|address| record(RData::A(address.into())));
    Some((records.collect(), RCODE::NoError))
}

/// `4.3.2.1.in-addr.arpa` is 1.2.3.4.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let lower = name.to_ascii_lowercase();
    let backwards: Ipv4Addr = lower.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [d, c, b, a] = backwards.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

fn reply<'a>(
    query: &Packet<'a>,
    records: Vec<ResourceRecord<'a>>,
    code: RCODE,
    way: Way,
) -> Vec<u8> {
    let mut reply = Packet::new_reply(query.id());
    reply.questions = query.questions.clone();
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = code;
    // Who speaks EDNS is answered in it.
    if query.opt().is_some() {
        *reply.opt_mut() = Some(OPT { opt_codes: vec![], udp_packet_size: OUR_UDP, version: 0 });
    }
    reply.answers = records;
    let limit = match (way, query.opt()) {
        (Way::Tcp, _) => usize::from(u16::MAX),
        (Way::Udp, Some(opt)) => usize::from(opt.udp_packet_size).max(PLAIN_UDP),
        (Way::Udp, None) => PLAIN_UDP,
    };
    let build = |reply: &Packet| reply.build_bytes_vec_compressed().unwrap_or_default();
    let whole = build(&reply);
    if whole.len() <= limit {
        return whole;
    }
    // Ask again by TCP.
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    build(&reply)
}

/// The answer to what nobody could answer: SERVFAIL, with the question as it came.
pub fn failure(message: &[u8]) -> Vec<u8> {
    let Ok(query) = Packet::parse(message) else {
        // At least its head, with nothing behind it.
        let mut head = message[..12.min(message.len())].to_vec();
        if let [_, _, flags, code, counts @ ..] = &mut head[..] {
            *flags |= 0x80;
            *code = 0x80 | 2;
            counts.fill(0);
        }
        return head;
    };
    reply(&query, Vec::new(), RCODE::ServerFailure, Way::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::dns::book::{Page, tests::example};

    fn question(name: &str, typ: TYPE, edns: Option<u16>) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (qtype, qclass) = (QTYPE::TYPE(typ), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(Name::new(name).unwrap(), qtype, qclass, false));
        *packet.opt_mut() =
            edns.map(|size| OPT { opt_codes: vec![], udp_packet_size: size, version: 0 });
        packet.build_bytes_vec().unwrap()
    }

    fn show(verdict: Verdict) -> String {
        let Verdict::Answer(bytes) = verdict else { return format!("{verdict:?}") };
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.id(), packet.questions.len()), (7, 1));
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE));
        let data = packet.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => format!(" {}", Ipv4Addr::from_bits(a.address)),
            RData::PTR(name) => format!(" {}", name.0),
            other => format!(" {other:?}"),
        });
        format!("{:?}{}", packet.rcode(), data.collect::<String>())
    }

    #[test]
    fn questions_and_their_answers() {
        let ask = |(name, typ): (&str, TYPE)| {
            let verdict = judge(&question(name, typ, None), &example(), 1, Way::Udp);
            format!("{typ:?} {name}: {}", show(verdict))
        };
        let asked = [
            ("db", TYPE::A),
            ("DB", TYPE::AAAA),
            ("db", TYPE::MX),
            ("web", TYPE::A),
            ("example.com", TYPE::A),
            ("2.0.81.10.in-addr.arpa", TYPE::PTR),
            ("9.0.81.10.IN-ADDR.ARPA", TYPE::PTR),
            ("8.8.8.8.in-addr.arpa", TYPE::PTR),
        ];
        insta::assert_snapshot!(asked.map(ask).join("\n"), @r"
        A db: NoError 10.81.0.2
        AAAA DB: NoError
        MX db: NoError
        A web: NoError 10.82.0.3 10.82.0.4 10.82.0.2
        A example.com: Forward
        PTR 2.0.81.10.in-addr.arpa: NoError db.back
        PTR 9.0.81.10.IN-ADDR.ARPA: NameError
        PTR 8.8.8.8.in-addr.arpa: Forward
        ");
    }

    #[test]
    fn an_answer_that_is_too_long_is_cut_and_told_by_tcp() {
        let neighbours = (2..102).map(|n| ([10, 83, 0, n].into(), vec!["many".into()])).collect();
        let subnet = "10.83.0.0/20".parse().unwrap();
        let book = Book(vec![Page { network: "n".into(), subnet, neighbours }]);
        let ask = |edns, way| {
            let Verdict::Answer(bytes) = judge(&question("many", TYPE::A, edns), &book, 0, way)
            else {
                panic!()
            };
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.opt().is_some(), edns.is_some());
            (packet.has_flags(PacketFlag::TRUNCATION), packet.answers.len())
        };
        assert_eq!(ask(None, Way::Udp), (true, 0));
        assert_eq!(ask(Some(1232), Way::Udp), (true, 0));
        assert_eq!(ask(Some(4096), Way::Udp), (false, 100));
        assert_eq!(ask(None, Way::Tcp), (false, 100));
    }

    #[test]
    fn nonsense_is_not_answered_and_what_nobody_knows_is_a_failure() {
        let book = example();
        assert_eq!(judge(b"short", &book, 0, Way::Udp), Verdict::Ignore);
        let mut answer = question("db", TYPE::A, None);
        answer[2] |= 0x80;
        assert_eq!(judge(&answer, &book, 0, Way::Udp), Verdict::Ignore);
        assert_eq!(judge(&[0xff; 12][..], &book, 0, Way::Udp), Verdict::Ignore);
        let mut broken = question("db", TYPE::A, None);
        broken.truncate(14);
        assert_eq!(judge(&broken, &book, 0, Way::Udp), Verdict::Forward);
        assert_eq!(failure(&broken).len(), 12);
        let refused = failure(&question("example.com", TYPE::A, Some(1232)));
        let packet = Packet::parse(&refused).unwrap();
        assert_eq!((packet.rcode(), packet.id()), (RCODE::ServerFailure, 7));
    }
}
