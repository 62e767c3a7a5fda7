//! Names, asked and answered by this very program: `ask` inside a container's network,
//! `serve` as the name server of another machine.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE};
use simple_dns::{ResourceRecord, TYPE};
use testkit::{NetNs, Tended};

/// What the other machine says to every name that it knows.
pub const ANSWER: [u8; 4] = [203, 0, 113, 7];

/// True if this process was started to be one of the two; it never comes back then.
pub fn main(words: &[String]) {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["dns-serve", address] => serve(address.parse().unwrap()),
        ["dns-ask", questions @ ..] => {
            questions.iter().for_each(|question| println!("{}", ask_one(question)));
            std::process::exit(0)
        }
        ["dns-bind", port] => {
            let port: u16 = port.parse().unwrap();
            let _udp = UdpSocket::bind(("0.0.0.0", port)).expect("bind the udp port");
            let _tcp = TcpListener::bind(("0.0.0.0", port)).expect("bind the tcp port");
            println!("bound");
            std::process::exit(0)
        }
        _ => {}
    }
}

/// Starts the other machine's name server.
pub fn start(network: &NetNs, address: &str) -> Tended {
    let mut command = network.command(std::env::current_exe().unwrap());
    command.args(["dns-serve", address]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = testkit::spawn(command).expect("start a name server");
    let mut ready = [0; 6];
    server.0.stdout.as_mut().unwrap().read_exact(&mut ready).expect("hear the name server");
    server
}

/// `udp|tcp NAME TYPE`, as `udp:NAME:TYPE`.
fn ask_one(question: &str) -> String {
    let [way, name, typ] = question.split(':').collect::<Vec<_>>()[..] else { panic!() };
    let typ = match typ {
        "A" => TYPE::A,
        "AAAA" => TYPE::AAAA,
        "PTR" => TYPE::PTR,
        "MX" => TYPE::MX,
        other => panic!("{other}"),
    };
    let mut query = Packet::new_query(4711);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let (qtype, qclass) = (QTYPE::TYPE(typ), QCLASS::CLASS(CLASS::IN));
    query.questions.push(Question::new(Name::new(name).unwrap(), qtype, qclass, false));
    let message = query.build_bytes_vec().unwrap();
    let server = ("127.0.0.11", 53);
    let timeout = Some(Duration::from_secs(20));
    let answer = if way == "tcp" {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(timeout).unwrap();
        write_framed(&mut stream, &message);
        read_framed(&mut stream).expect("an answer by TCP")
    } else {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Connected: an answer from elsewhere is none.
        socket.connect(server).unwrap();
        socket.set_read_timeout(timeout).unwrap();
        socket.send(&message).unwrap();
        let mut buffer = vec![0; 65536];
        let length = socket.recv(&mut buffer).expect("an answer by UDP");
        buffer.truncate(length);
        buffer
    };
    show(name, &answer)
}

fn show(name: &str, answer: &[u8]) -> String {
    let packet = Packet::parse(answer).unwrap();
    assert_eq!(packet.id(), 4711);
    let mut data: Vec<_> = packet
        .answers
        .iter()
        .map(|record| match &record.rdata {
            RData::A(a) => IpAddr::from(a.address.to_be_bytes()).to_string(),
            RData::PTR(name) => name.0.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    data.sort();
    let cut = if packet.has_flags(PacketFlag::TRUNCATION) { " cut" } else { "" };
    let code = match packet.rcode() {
        RCODE::NoError => String::new(),
        code => format!(" {code:?}"),
    };
    format!("{name}{code}{cut} {}", data.join(" ")).trim_end().to_owned()
}

/// Knows every name that ends in `example`; `big.example` only by TCP; says nothing at
/// all to `silent.example`; others do not exist.
fn serve(address: SocketAddr) {
    let udp = UdpSocket::bind(address).unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    println!("ready");
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            while let Some(message) = read_framed(&mut stream) {
                if let Some(answer) = reply(&message, true) {
                    write_framed(&mut stream, &answer);
                }
            }
        }
    });
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = udp.recv_from(&mut buffer).unwrap();
        if let Some(answer) = reply(&buffer[..length], false) {
            udp.send_to(&answer, from).unwrap();
        }
    }
}

fn reply(message: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let query = Packet::parse(message).unwrap();
    let question = query.questions[0].clone();
    let name = question.qname.to_string();
    let mut reply = query.into_reply();
    match name.as_str() {
        "silent.example" => return None,
        "big.example" if !tcp => reply.set_flags(PacketFlag::TRUNCATION),
        name if name.ends_with("example") => {
            let address = A { address: u32::from_be_bytes(ANSWER) };
            let record = ResourceRecord::new(question.qname, CLASS::IN, 60, RData::A(address));
            reply.answers.push(record);
        }
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    Some(reply.build_bytes_vec().unwrap())
}

fn write_framed(stream: &mut TcpStream, message: &[u8]) {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).unwrap();
}

fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}
