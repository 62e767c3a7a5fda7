//! Make port 8080 answer on 127.0.0.1, too.
//!
//! A redirect of the firewall cannot carry what comes from this host itself: a packet from
//! 127.0.0.1 must not leave the loopback. So somebody must accept here and carry there. Write
//! `serve`: it takes each connection and carries bytes both ways, until both sides have said
//! their end. Several at a time. An end is passed on in one direction only (`shutdown`): a
//! client may have said all and still wait for the answer. And where nobody listens inside, the
//! client must not wait. Here the container is another address of the loopback.
//!
//! Minutes: 45

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Carries every connection that comes to `listener` to `inside`.
fn serve(listener: TcpListener, inside: SocketAddr) {
    // YOURS: accept, connect, carry both ways, and pass on the ends
    // SAYS: waits for the silent one
    for client in listener.incoming().map_while(Result::ok) {
        let Ok(server) = TcpStream::connect(inside) else { continue };
        let (Ok(c), Ok(s)) = (client.try_clone(), server.try_clone()) else { continue };
        let inward = thread::spawn(move || carry(c, s));
        carry(server, client);
        let _ = inward.join();
    }
    // END
}

/// Carries one direction.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    // YOURS: copy until the end, and pass it on
    let _ = io::copy(&mut from, &mut to);
    // Half of the connection is over. The other half may go on for long.
    let _ = to.shutdown(Shutdown::Write);
    // END
}

fn main() -> io::Result<()> {
    let service = TcpListener::bind("127.80.0.2:0")?;
    let inside = service.local_addr()?;
    thread::spawn(move || answer(service));
    let outside = TcpListener::bind("127.0.0.1:0")?;
    let address = outside.local_addr()?;
    thread::spawn(move || serve(outside, inside));

    let silent = TcpStream::connect(address)?;
    println!("one connects, and says nothing");
    println!("another one says hello: {}", ask(address, b"hello"));
    println!("a megabyte: {}", ask(address, &vec![b'x'; 1 << 20]));
    drop(silent);

    // Nobody listens on this one: it was closed again.
    let gone = TcpListener::bind("127.80.0.2:0")?.local_addr()?;
    let outside = TcpListener::bind("127.0.0.1:0")?;
    let address = outside.local_addr()?;
    thread::spawn(move || serve(outside, gone));
    println!("nobody inside: {}", ask(address, b""));
    Ok(())
}

/// The service in the container: it answers when all has been said.
fn answer(listener: TcpListener) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        thread::spawn(move || {
            let mut words = Vec::new();
            let _ = stream.read_to_end(&mut words);
            let _ = write!(stream, "you said {} bytes", words.len());
        });
    }
}

/// Says all, says that it is all, and waits for the answer.
fn ask(address: SocketAddr, words: &[u8]) -> String {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(words)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.is_empty() => "the connection ends".into(),
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => "no answer in 2 seconds".into(),
        Err(_) => "the connection ends".into(),
    }
}
