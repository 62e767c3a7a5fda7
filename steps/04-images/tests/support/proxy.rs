//! An HTTP proxy in front of a registry that does what networks and registries do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/v2/…`
    pub path: String,
    /// Lower-case names.
    headers: Vec<(String, String)>,
    /// How many requests for the same path came before it.
    pub earlier: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// What happens to a request.
pub enum Fate {
    /// It is answered as the registry answers.
    Pass,
    /// The registry never hears of it.
    Answer { status: &'static str, headers: String, body: String },
    /// The connection breaks before the first word.
    Drop,
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The connection hangs after so many bytes of the body.
    Hang(usize),
    /// One bit of the body is wrong.
    Flip(usize),
    /// The body is so short, and says so.
    Shorten(usize),
    /// The registry does not see the `Range`.
    NoRange,
}

/// A proxy; it serves until the test process ends.
pub struct Proxy {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Stands before the server at `upstream` ("127.0.0.1:5000").
    pub fn start(
        upstream: String,
        fate: impl Fn(&Request) -> Fate + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (fate, log) = (Arc::new(fate), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (fate, log, upstream) = (fate.clone(), log.clone(), upstream.clone());
                std::thread::spawn(move || serve(stream, &upstream, &*fate, &log));
            }
        });
        Proxy { port, seen }
    }

    /// "127.0.0.1:PORT"
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A reference to an image behind it.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// One request to a connection.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    fate: &(dyn Fn(&Request) -> Fate + Send + Sync),
    log: &Mutex<Vec<Request>>,
) {
    let Some(mut request) = read_request(&mut client) else { return };
    {
        let mut log = log.lock().unwrap();
        request.earlier = log.iter().filter(|other| other.path == request.path).count();
        log.push(request.clone());
    }
    let fate = fate(&request);
    if matches!(fate, Fate::Drop) {
        return;
    }
    if let Fate::Answer { status, headers, body } = &fate {
        let length = body.len();
        let _ = write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        return;
    }
    let (mut head, mut body) = forward(&request, upstream, matches!(fate, Fate::NoRange));
    let mut hang = false;
    match fate {
        Fate::Cut(at) => body.truncate(at),
        Fate::Hang(at) => {
            body.truncate(at);
            hang = true;
        }
        Fate::Flip(at) => body[at] ^= 1,
        Fate::Shorten(at) => {
            head = head.replace(
                &format!("Content-Length: {}", body.len()),
                &format!("Content-Length: {at}"),
            );
            body.truncate(at);
        }
        _ => {}
    }
    let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(&body));
    if hang {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn read_request(client: &mut TcpStream) -> Option<Request> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).ok()?;
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    Some(Request { path, headers, earlier: 0 })
}

/// Asks the registry: the head of its answer, with `Connection: close`, and the body.
fn forward(request: &Request, upstream: &str, hide_range: bool) -> (String, Vec<u8>) {
    let mut server = TcpStream::connect(upstream).expect("the registry listens");
    let mut text =
        format!("GET {} HTTP/1.1\r\nHost: {upstream}\r\nConnection: close\r\n", request.path);
    for (name, value) in &request.headers {
        let hidden =
            ["host", "connection"].contains(&name.as_str()) || (hide_range && name == "range");
        if !hidden {
            text += &format!("{name}: {value}\r\n");
        }
    }
    server.write_all((text + "\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}
