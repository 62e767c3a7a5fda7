//! Who reaches whom: the container the world, and the world its published ports.

mod world;

use testkit::{Needs, test};
use world::{Done, HOST, MACHINE, World, ask, wait, wait_for};

const NET: &[Needs] =
    &[Needs::Network, Needs::Overlay, Needs::Program("busybox"), Needs::Program("curl")];

fn main() {
    testkit::main(vec![
        test("a_container_reaches_the_world", NET, a_container_reaches_the_world),
        test("a_container_has_one_address_and_no_ipv6", NET, one_address_and_no_ipv6),
        test("a_published_port_answers_from_everywhere", NET, a_port_answers_from_everywhere),
        test("a_container_reaches_its_own_published_port", NET, a_container_reaches_itself),
        test("an_unpublished_port_is_closed_to_other_machines", NET, unpublished_is_closed),
        test("a_port_on_the_loopback_is_closed_to_other_machines", NET, loopback_is_closed),
        test("a_port_on_one_address_answers_there_only", NET, one_address_only),
        test("a_udp_port_answers_from_everywhere", NET, udp_answers_from_everywhere),
        test("a_udp_client_is_led_to_the_container_that_comes_next", NET, udp_client_goes_on),
        test("the_proxy_carries_much_and_passes_the_end_on", NET, the_proxy_carries_much),
        test("the_proxy_carries_more_connections_than_select_could", NET, many_connections),
        test("an_answer_that_comes_before_the_question_is_over_arrives", NET, early_answer),
        test("nobody_listens_inside_and_the_client_is_told", NET, nobody_listens_inside),
        test("two_networks_are_strangers_but_for_published_ports", NET, strangers),
        test("without_nft_the_proxy_serves_everyone", NET, without_nft),
        test("names_reach_the_container", NET, names_reach_the_container),
        test("host_none_and_container_mean_what_they_say", NET, modes),
    ])
}

fn a_container_reaches_the_world() {
    let world = World::new();
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
}

fn one_address_and_no_ipv6() {
    let world = World::new();
    let shown = world.run(&[], "ip -br address | awk '{print $1, $3, $4}'; ip route").out;
    let lines: Vec<&str> = shown.lines().collect();
    let [lo, eth0, default, subnet] = lines[..] else { panic!("{shown}") };
    assert!(lo.starts_with("lo 127.0.0.1/8"), "{shown}");
    assert!(eth0.starts_with("eth0@") && eth0.contains(" 10."), "{shown}");
    assert!(!eth0.contains("fe80"), "eth0 speaks IPv6: {shown}");
    assert!(default.starts_with("default via 10.") && default.contains("dev eth0"), "{shown}");
    assert!(subnet.starts_with("10.") && subnet.contains("/20 dev eth0"), "{shown}");
    // Nor does the host on its side: it would believe a container that says it is a router.
    let mut ip = world.host.command("ip");
    let on_host = Done::of_any(ip.args(["-6", "address", "show", "dev", &world.bridge()]));
    assert_eq!(on_host.out, "", "the bridge speaks IPv6");
}

fn a_port_answers_from_everywhere() {
    let world = World::new();
    world.host.ip("address add fd00::1/64 dev wire0 nodad");
    world.machine.ip("address add fd00::9/64 dev wire0 nodad");
    let _server = world.serve(&["-p", "8080:80"]);
    wait_for(&world.host, "127.0.0.1:8080");
    for authority in ["[::1]:8080", "192.0.2.1:8080", "[fd00::1]:8080"] {
        assert_eq!(ask(&world.host, authority), "hello", "from the host, {authority}");
    }
    for authority in ["192.0.2.1:8080", "[fd00::1]:8080"] {
        assert_eq!(ask(&world.machine, authority), "hello", "from a machine, {authority}");
    }
    let inside = world.run(&[], &format!("curl -s -m2 http://{HOST}:8080/"));
    assert_eq!(inside.out, "hello", "from another container");
}

fn a_container_reaches_itself() {
    let world = World::new();
    let script = "mkdir /www; echo hello > /www/index.html; busybox httpd -p 80 -h /www; \
                  curl -s -m2 http://192.0.2.1:8080/";
    assert_eq!(world.run(&["-p", "8080:80"], script).out, "hello");
}

fn unpublished_is_closed() {
    let world = World::new();
    let _server = world.serve(&[]);
    let address = world.address();
    wait_for(&world.host, &format!("{address}:80"));
    assert_eq!(ask(&world.machine, &format!("{address}:80")), "");
    let neighbour = world.run(&[], &format!("curl -s -m2 http://{address}/"));
    assert_eq!(neighbour.out, "hello", "neighbours on a network see each other");
}

fn loopback_is_closed() {
    let world = World::new();
    let _server = world.serve(&["-p", "127.0.0.1:8080:80"]);
    wait_for(&world.host, "127.0.0.1:8080");
    assert_eq!(ask(&world.machine, "192.0.2.1:8080"), "");
    assert_eq!(ask(&world.host, "[::1]:8080"), "");
}

fn one_address_only() {
    let world = World::new();
    world.host.ip("address add 192.0.2.2/24 dev wire0");
    let _server = world.serve(&["-p", "192.0.2.2:8080:80"]);
    wait_for(&world.machine, "192.0.2.2:8080");
    assert_eq!(ask(&world.machine, "192.0.2.1:8080"), "");
    assert_eq!(ask(&world.host, "127.0.0.1:8080"), "");
}

/// Says a word to a UDP port, and what comes back.
const UDP_ASK: &str = "\
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
if len(sys.argv) > 3: s.bind(('', int(sys.argv[3])))
s.connect((host, port))
s.send(b'hello')
print(s.recv(100).decode())";

const UDP_ECHO: &str = "\
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 53))
while True:
    word, client = s.recvfrom(100)
    s.sendto(word + b' to you', client)";

fn udp_answers_from_everywhere() {
    let world = World::new();
    let _server = world.start(&["-p", "5300:53/udp"], &format!("exec python3 -c \"{UDP_ECHO}\""));
    let say = |from: &testkit::NetNs, host: &str| {
        let mut python = from.command("python3");
        Done::of_any(python.args(["-c", UDP_ASK, host, "5300"])).out
    };
    wait("the echo", || say(&world.host, "127.0.0.1") == "hello to you");
    for address in ["127.0.0.1", "127.0.0.2", "::1", HOST] {
        assert_eq!(say(&world.host, address), "hello to you", "from the host, {address}");
    }
    assert_eq!(say(&world.machine, HOST), "hello to you", "from a machine");
    let ask = format!("exec python3 -c \"{UDP_ASK}\" {HOST} 5300");
    assert_eq!(world.run(&[], &ask).out, "hello to you", "from another container");
}

fn udp_client_goes_on() {
    let world = World::new();
    let say = || {
        let mut python = world.machine.command("python3");
        Done::of_any(python.args(["-c", UDP_ASK, HOST, "5300", "7777"])).out
    };
    let echo = format!("exec python3 -c \"{UDP_ECHO}\"");
    let server = world.start(&["-p", "5300:53/udp"], &echo);
    wait("the first echo", || say() == "hello to you");
    drop(server);
    wait("its end", || world.leases().is_empty());
    // From the same port of the client: to the kernel it is the same conversation.
    let _next = world.start(&["-p", "5300:53/udp"], &echo);
    wait("the next echo", || say() == "hello to you");
}

/// Sends much, says that this was all, and only then reads the answer.
const MUCH: &str = "\
import socket, threading
s = socket.create_connection(('127.0.0.1', 8080))
def send():
    s.sendall(b'x' * 5000000)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
count = 0
while True:
    part = s.recv(65536)
    if not part: break
    count += len(part)
print(count)";

fn the_proxy_carries_much() {
    let world = World::new();
    let _server = world.start(&["-p", "8080:80"], "exec busybox nc -ll -p 80 -e cat");
    let many = |_| {
        let mut python = world.host.command("python3");
        Done::of_any(python.args(["-c", MUCH])).out
    };
    wait("the server", || many(()) == "5000000");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| many(()))).collect();
        for one in all {
            assert_eq!(one.join().expect("a client"), "5000000");
        }
    });
}

/// Greets everybody, and closes when they do.
const GREET: &str = "\
import socket
s = socket.create_server(('0.0.0.0', 80), backlog=1024)
all = []
while True:
    all.append(s.accept()[0])
    all[-1].sendall(b'hello')";

const MANY: &str = "\
import resource, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
all = [socket.create_connection(('127.0.0.1', 8080), 5) for _ in range(800)]
print(sum(s.recv(5) == b'hello' for s in all))";

fn many_connections() {
    let world = World::new();
    let script = format!("ulimit -n 4096; exec python3 -c \"{GREET}\"");
    let _server = world.start(&["-p", "8080:80"], &script);
    let ask = || Done::of_any(world.host.command("python3").args(["-c", MANY])).out;
    wait("800 greetings", || ask() == "800");
}

/// Hears a word of many, answers, and closes.
const REFUSE: &str = "\
import socket, time
s = socket.create_server(('0.0.0.0', 80))
while True:
    client = s.accept()[0]
    client.recv(1)
    client.sendall(b'too much')
    time.sleep(0.2)
    client.close()";

const INSIST: &str = "\
import socket, time
s = socket.create_connection(('127.0.0.1', 8080), 5)
try:
    while True: s.sendall(b'x' * 65536)
except OSError: pass
print(s.recv(100).decode())";

fn early_answer() {
    let world = World::new();
    let _server = world.start(&["-p", "8080:80"], &format!("exec python3 -c \"{REFUSE}\""));
    let ask = || Done::of_any(world.host.command("python3").args(["-c", INSIST])).out;
    wait("the server", || ask() == "too much");
    (0..5).for_each(|_| assert_eq!(ask(), "too much"));
}

fn nobody_listens_inside() {
    let world = World::new();
    let _container = world.start(&["-p", "8080:80"], "exec sleep 60");
    let refused = || {
        let mut curl = world.host.command("curl");
        Done::of_any(curl.args(["-sS", "-m", "2", "http://127.0.0.1:8080/"])).err
    };
    // The proxy has accepted by then, so it is a reset and not a refusal.
    wait("a reset", || refused().contains("reset by peer"));
}

fn strangers() {
    let world = World::new();
    let other = testkit::temp_dir();
    let _server = world.serve(&["-p", "8080:80"]);
    let address = world.address();
    wait_for(&world.host, "127.0.0.1:8080");
    let from_the_other = |url: &str| {
        let words = ["run", "--rootfs", "/", "curl", "-s", "-m", "2", url];
        Done::of_any(&mut world.command_at(other.path(), &words)).out
    };
    assert_eq!(from_the_other(&format!("http://{address}/")), "");
    assert_eq!(from_the_other(&format!("http://{HOST}:8080/")), "hello");
}

fn without_nft() {
    let world = World::new();
    let server = world
        .command(&["run", "--rootfs", "-p", "8080:80", "/", "busybox", "httpd", "-f", "-p", "80"]);
    let mut hidden = std::process::Command::new("unshare");
    hidden.args(["--mount", "sh", "-c", "mount -t tmpfs none /usr/sbin && exec \"$@\"", "sh"]);
    // nsenter must be found before its folder is hidden, so hide first.
    hidden.arg(server.get_program()).args(server.get_args());
    let hidden = testkit::spawn(hidden).expect("start a container");
    wait("the proxy", || {
        let mut curl = world.machine.command("curl");
        // There is no page, but there is a server.
        Done::of_any(curl.args(["-s", "-m", "2", "http://192.0.2.1:8080/"])).out.contains("404")
    });
    let tables = Done::of_any(world.host.command("nft").args(["list", "tables"])).out;
    assert_eq!(tables, "", "there was an nft");
    drop(hidden);
}

fn names_reach_the_container() {
    let world = World::new();
    let flags = ["-h", "web", "--add-host", "db:10.1.2.3", "--add-host", "up:host-gateway"];
    let flags = [&flags[..], &["--dns", "9.9.9.9", "--dns-search", "a.example"]].concat();
    let shown = world.run(&flags, "cat /etc/hostname /etc/resolv.conf /etc/hosts; hostname -i").out;
    let address = shown.lines().last().expect("an address").trim().to_owned();
    assert!(shown.starts_with("web\nnameserver 9.9.9.9\nsearch a.example\n"), "{shown}");
    assert!(shown.contains("\n10.1.2.3\tdb\n"), "{shown}");
    assert!(shown.contains(&format!("\n{address}\tweb\n")), "{shown}");
    world.run(&["--add-host", "up:host-gateway"], "ping -c1 -W2 up");
}

fn modes() {
    let world = World::new();
    let links = "ip -br link | awk '{print $1, $2}'";
    assert_eq!(world.run(&["--network", "none"], links).out, "lo UNKNOWN");
    assert!(world.run(&["--network", "host"], links).out.contains("wire0"));

    let server = world.serve(&[]);
    wait("the lease", || world.leases().len() == 1);
    wait_for(&world.host, &format!("{}:80", world.address()));
    // The container is the owner's child that is in another network.
    let own = std::fs::read_link(world.host.path()).expect("the host's network");
    let pid = server.0.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the owner's children");
    let inside = children.split_whitespace().find(|child| {
        std::fs::read_link(format!("/proc/{child}/ns/net")).is_ok_and(|net| net != own)
    });
    let mode = format!("container:{}", inside.expect("a container"));
    let shared = world.run(&["--network", &mode], "curl -s http://127.0.0.1/");
    assert_eq!(shared.out, "hello");

    let words = ["run", "--rootfs", "--network", &mode, "-p", "80", "/", "true"];
    let refused = Done::of_any(&mut world.command(&words));
    assert_eq!(refused.code, Some(125));
    assert!(refused.err.contains("conflicting options: port publishing"), "{refused:?}");
}
