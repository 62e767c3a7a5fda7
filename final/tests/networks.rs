//! Networks that people make: who is on them, who finds whom, who reaches whom, and
//! that nothing of them stays.

use std::process::Command;
use std::time::Duration;

use testkit::{Needs, wait_until};

#[path = "networks/dns.rs"]
mod dns;
#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;
#[path = "networks/links.rs"]
mod links;
#[path = "networks/world.rs"]
mod world;

use links::*;
use world::{HOST, MACHINE, World};

const NET: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];
const SERVER: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Network,
    Needs::Program("busybox"),
    Needs::Program("curl"),
];

fn main() {
    dns::main(&std::env::args().skip(1).collect::<Vec<_>>());
    testkit::main(testkit::tests![
        NET networks_are_made_listed_shown_and_removed,
        NET what_makes_no_sense_is_refused_in_dockers_words,
        NET containers_find_each_other_by_all_their_names,
        NET a_link_is_a_name_that_nobody_else_knows,
        NET a_link_leads_to_where_the_other_is_after_every_restart,
        NET what_contradicts_the_network_mode_is_refused_in_dockers_words,
        NET what_nobody_knows_is_asked_of_others,
        NET a_container_is_put_on_networks_and_taken_off_while_it_runs,
        NET wishes_are_kept_over_a_restart,
        SERVER networks_are_strangers_but_for_published_ports,
        NET a_killed_shim_leaves_no_lease_and_no_name,
        NET the_options_of_a_network_do_what_they_say,
    ]);
}

fn networks_are_made_listed_shown_and_removed() {
    let world = World::new();
    let id = world.tell(&[
        "network",
        "create",
        "--subnet",
        "10.99.0.0/24",
        "--gateway",
        "10.99.0.9",
        "--ip-range",
        "10.99.0.128/25",
        "--label",
        "a=b",
        "mine",
    ]);
    world.tell(&["network", "create", "--internal", "other"]);
    let names = |filters: &[&str]| {
        let words = [&["network", "ls", "--format", "{{.Name}}"], filters].concat();
        world.tell(&words).lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "bridge host mine none other");
    assert_eq!(names(&["--filter", "type=builtin"]), "bridge host none");
    assert_eq!(names(&["--filter", "label=a=b"]), "mine");
    assert_eq!(names(&["--filter", "name=the"]), "other");
    assert_eq!(world.tell(&["network", "ls", "-q", "--no-trunc", "-f", "name=mine"]), id);
    let show = |template: &str| world.tell(&["network", "inspect", "-f", template, &id[..6]]);
    assert_eq!(
        show("{{json .IPAM.Config}} {{.Labels.a}} {{.Internal}}"),
        r#"[{"Subnet":"10.99.0.0/24","IPRange":"10.99.0.128/25","Gateway":"10.99.0.9"}] b false"#
    );
    world.sleeper("cc", &["--network", "mine"]);
    assert_eq!(world.address("cc", "mine"), "10.99.0.128");
    assert!(show("{{json .Containers}}").contains(r#""IPv4Address":"10.99.0.128/24""#));
    assert_eq!(names(&["--filter", "dangling=true"]), "other");
    let refused = world.refuse(&["network", "rm", "mine"]);
    assert!(refused.contains("has active endpoints (name:\"cc\" id:"), "{refused}");
    assert_eq!(world.tell(&["network", "prune", "-f"]), "Deleted Networks:\nother");
    world.tell(&["rm", "-f", "cc"]);
    assert_eq!(world.tell(&["network", "rm", "mine"]), "mine");
    assert_eq!(names(&[]), "bridge host none");
    world.assert_clean();
    // The default one stays, until it is taken down.
    world.sleeper("cc", &[]);
    world.tell(&["rm", "-f", "cc"]);
    assert!(wait_until(Duration::from_secs(5), || world.things().len() == 2));
    world.tell(&["network", "down"]);
    world.assert_clean();
    world.engine.assert_nothing_left();
}

fn what_makes_no_sense_is_refused_in_dockers_words() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "mine"]);
    world.tell(&["network", "create", "any"]);
    let refused = [
        &["network", "create", "mine"][..],
        &["network", "create", "host"],
        &["network", "create", "--subnet", "10.99.0.128/25", "x"],
        &["network", "create", "-d", "overlay", "x"],
        &["network", "rm", "bridge"],
        &["network", "rm", "nope"],
        &["network", "inspect", "nope"],
        &["network", "connect", "mine", "nope"],
        &["run", "--rm", "--network", "nope", "host", "true"],
        &["run", "--rm", "--network", "any", "--ip", "10.80.16.9", "host", "true"],
        &["run", "--rm", "--network", "mine", "--ip", "10.98.0.9", "host", "true"],
        &["run", "--rm", "--network", "mine", "--ip", "10.99.0.1", "host", "true"],
    ];
    let said: Vec<_> = refused
        .iter()
        .map(|words| {
            let said = world.refuse(words);
            said.lines().last().unwrap().trim_start_matches("coracle: ").to_owned()
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    network with name mine already exists
    operation is not permitted on predefined host network
    invalid pool request: Pool overlaps with other one on this address space: 10.99.0.0/24 is in use
    plugin "overlay" not found
    bridge is a pre-defined network and cannot be removed
    network nope not found
    network nope not found
    No such container: nope
    network nope not found
    user specified IP address is supported only when connecting to networks with user configured subnets
    invalid address 10.98.0.9: it does not belong to any of this network's subnets
    Address already in use: it is the gateway's
    "#);
    assert_eq!(world.tell(&["ps", "-aq"]), "");
    world.tell(&["network", "prune", "-f"]);
    world.assert_clean();
}

fn what_contradicts_the_network_mode_is_refused_in_dockers_words() {
    let world = World::new();
    world.sleeper("one", &[]);
    let refused = [
        ("--hostname h", "hostname and the network mode"),
        ("--link one", "container type network can't be used with links"),
        ("--dns 192.0.2.53", "dns and the network mode"),
        ("--add-host a:192.0.2.7", "custom host-to-IP mapping and the network mode"),
        ("--mac-address 02:42:ac:11:00:07", "mac-address and the network mode"),
        ("-p 80", "port publishing and the container type network mode"),
        ("-P", "port publishing and the container type network mode"),
        ("--expose 80", "port exposing and the container type network mode"),
    ];
    for (flags, sentence) in refused {
        let flags: Vec<_> = flags.split(' ').collect();
        let words = [&["create", "--network", "container:one"], &flags[..], &["host", "true"]];
        let said = world.refuse(&words.concat());
        assert!(said.starts_with(&format!("coracle: conflicting options: {sentence}")), "{said}");
    }
    let own = ["create", "--name", "two", "--network", "container:two", "host", "true"];
    assert_eq!(world.refuse(&own), "coracle: cannot join own network namespace");
    assert_eq!(world.tell(&["ps", "-aq"]).lines().count(), 1, "nothing is left of them");
    let told = world.engine.run(&["--rm", "--network", "host", "-p", "8080:80", "host", "true"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("WARNING: Published ports are discarded"), "{told:?}");
    world.tell(&["rm", "-f", "one"]);
}

fn containers_find_each_other_by_all_their_names() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "back"]);
    world.sleeper("db", &["--network", "back", "--network-alias", "store", "-h", "old"]);
    world.sleeper("one", &["--network", "back", "--network-alias", "web"]);
    world.sleeper("two", &["--network", "name=back,alias=web"]);
    world.sleeper("stranger", &[]);
    let id = world.tell(&["inspect", "-f", "{{.Id}}", "db"]);
    let short = format!("udp:{}:A", &id[..12]);
    let asked = [
        "udp:db:A",
        "udp:store:A",
        "udp:old:A",
        "udp:DB.back:A",
        "tcp:db:A",
        "udp:db:AAAA",
        "udp:db:MX",
        "udp:web:A",
        "udp:2.0.99.10.in-addr.arpa:PTR",
        "udp:9.0.99.10.in-addr.arpa:PTR",
        &short,
    ];
    let said = world.names("one", &asked).join("\n").replace(&id[..12], "ID");
    insta::assert_snapshot!(said, @r"
    db 10.99.0.2
    store 10.99.0.2
    old 10.99.0.2
    DB.back 10.99.0.2
    db 10.99.0.2
    db
    db
    web 10.99.0.3 10.99.0.4
    2.0.99.10.in-addr.arpa db.back
    9.0.99.10.in-addr.arpa NameError
    ID 10.99.0.2
    ");
    // As programs ask.
    assert!(world.tell(&["exec", "one", "ping", "-c1", "-W5", "store"]).contains("1 received"));
    assert_eq!(
        world.tell(&["exec", "one", "cat", "/etc/resolv.conf"]).lines().next(),
        Some("nameserver 127.0.0.11")
    );
    // Port 53 is the container's own.
    let own = std::env::current_exe().unwrap();
    let bound = world.inside("one", own.to_str().unwrap()).args(["dns-bind", "53"]).output();
    assert_eq!(bound.unwrap().stdout, b"bound\n");
    // On the default network nobody has a name.
    let resolv = world.tell(&["exec", "stranger", "cat", "/etc/resolv.conf"]);
    assert!(!resolv.contains("127.0.0.11"), "{resolv}");
    // Names go with their containers, and come with a new one.
    world.tell(&["rename", "db", "base"]);
    let unknown = |name: &str| {
        let question = format!("udp:{name}:A");
        !world.names("one", &[&question])[0].contains("10.99.")
    };
    assert!(unknown("db") && !unknown("base") && !unknown("store"));
    world.tell(&["rm", "-f", "two"]);
    assert_eq!(world.names("one", &["udp:web:A"]), ["web 10.99.0.3"]);
    for name in ["base", "one", "stranger"] {
        world.tell(&["rm", "-f", name]);
    }
    world.tell(&["network", "rm", "back"]);
    world.engine.assert_nothing_left();
}

fn what_nobody_knows_is_asked_of_others() {
    let world = World::new();
    let _server = dns::start(&world.machine, &format!("{MACHINE}:53"));
    world.tell(&["network", "create", "back"]);
    world.tell(&["network", "create", "--internal", "cell"]);
    world.sleeper("aa", &["--network", "back", "--dns", MACHINE]);
    let asked = [
        "udp:www.example:A",
        "tcp:www.example:A",
        "udp:big.example:A",
        "tcp:big.example:A",
        "udp:nope.test:A",
        "udp:aa:A",
    ];
    let answer = dns::ANSWER.map(|byte| byte.to_string()).join(".");
    let own = world.address("aa", "back");
    let said = world.names("aa", &asked).join("\n").replace(&answer, "ANSWER");
    insta::assert_snapshot!(said.replace(&own, "OWN"), @r"
    www.example ANSWER
    www.example ANSWER
    big.example cut
    big.example ANSWER
    nope.test NameError
    aa OWN
    ");
    // One that is not answered holds nobody up, and fails at last.
    std::thread::scope(|scope| {
        let silent = scope.spawn(|| world.names("aa", &["udp:silent.example:A"]));
        let many = ["udp:www.example:A"; 40];
        assert_eq!(world.names("aa", &many).len(), 40);
        assert_eq!(world.tell(&["exec", "aa", "echo", "awake"]), "awake");
        assert_eq!(silent.join().unwrap(), ["silent.example ServerFailure"]);
    });
    // A container without a way out has no way to ask, either.
    world.sleeper("bb", &["--network", "cell", "--dns", MACHINE]);
    assert_eq!(
        world.names("bb", &["udp:www.example:A", "tcp:www.example:A"]),
        ["www.example ServerFailure"; 2]
    );
    // Search domains and options stay.
    world.sleeper(
        "cc",
        &["--network", "back", "--dns-search", "corp.example", "--dns-option", "timeout:1"],
    );
    assert_eq!(
        world.tell(&["exec", "cc", "cat", "/etc/resolv.conf"]),
        "nameserver 127.0.0.11\nsearch corp.example\noptions timeout:1 ndots:0"
    );
}

fn a_container_is_put_on_networks_and_taken_off_while_it_runs() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "b-net"]);
    world.tell(&["network", "create", "--subnet", "10.98.0.0/24", "a-net"]);
    world.sleeper("cc", &["-p", "8080:80"]);
    world.sleeper("nn", &["--network", "b-net"]);
    let links = || world.tell(&["exec", "cc", "ls", "/sys/class/net"]).replace('\n', " ");
    let way_out = || world.tell(&["exec", "cc", "ip", "route", "show", "default"]);
    assert!(world.tell(&["exec", "cc", "cat", "/etc/hosts"]).lines().count() == 7);

    world.tell(&["network", "connect", "--ip", "10.99.0.77", "--alias", "sea", "b-net", "cc"]);
    assert_eq!(links(), "eth0 eth1 lo");
    assert_eq!(world.address("cc", "b-net"), "10.99.0.77");
    assert_eq!(world.names("nn", &["udp:sea:A"]), ["sea 10.99.0.77"]);
    // It has a name server now, and a second line of its own in /etc/hosts.
    assert_eq!(world.names("cc", &["udp:nn:A"]), ["nn 10.99.0.2"]);
    assert!(world.tell(&["exec", "cc", "cat", "/etc/resolv.conf"]).contains("127.0.0.11"));
    assert!(world.tell(&["exec", "cc", "cat", "/etc/hosts"]).contains("10.99.0.77\t"));
    let again = world.refuse(&["network", "connect", "b-net", "cc"]);
    assert_eq!(again, "coracle: endpoint with name cc already exists in network b-net");

    // The first network by name is the way out, unless another has priority.
    world.tell(&["network", "connect", "a-net", "cc"]);
    assert!(way_out().starts_with("default via 10.98.0.1 "), "{}", way_out());
    let elements = |subnet: &str| {
        let mut nft = world.engine.network.as_ref().unwrap().command("nft");
        let rules = nft.args(["list", "ruleset"]).output().unwrap().stdout;
        String::from_utf8_lossy(&rules).matches(&format!(": 10.{subnet}.0.")).count()
    };
    assert_eq!((elements("98"), elements("99")), (1, 0));
    world.tell(&["network", "disconnect", "a-net", "cc"]);
    world.tell(&["network", "connect", "--gw-priority", "5", "a-net", "cc"]);
    world.tell(&["network", "disconnect", "bridge", "cc"]);
    assert_eq!(links(), "eth1 eth2 lo");
    world.tell(&["network", "disconnect", "a-net", "cc"]);
    assert!(way_out().starts_with("default via 10.99.0.1 "), "{}", way_out());
    assert_eq!((elements("98"), elements("99")), (0, 1));
    assert!(world.tell(&["port", "cc"]).contains("8080"));
    world.tell(&["network", "disconnect", "b-net", "cc"]);
    assert_eq!(links(), "lo");
    assert_eq!(world.names("nn", &["udp:nn:A"]), ["nn 10.99.0.2"]);

    // What was done to it counts for its next start.
    world.tell(&["network", "connect", "--alias", "lake", "a-net", "cc"]);
    world.tell(&["stop", "-t", "0", "cc"]);
    world.tell(&["network", "connect", "--alias", "sea", "b-net", "cc"]);
    world.tell(&["start", "cc"]);
    assert_eq!(links(), "eth0 eth1 lo");
    assert_eq!(world.names("nn", &["udp:sea:A"]).len(), 1);
    assert!(world.tell(&["network", "inspect", "a-net"]).contains("\"Name\": \"cc\""));
    for name in ["cc", "nn"] {
        world.tell(&["rm", "-f", name]);
    }
    world.tell(&["network", "prune", "-f"]);
    world.tell(&["network", "down"]);
    world.assert_clean();
    world.engine.assert_nothing_left();
}

fn wishes_are_kept_over_a_restart() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "mine"]);
    world.sleeper(
        "cc",
        &["--network", "mine", "--ip", "10.99.0.40", "--mac-address", "02:00:00:00:00:07"],
    );
    let seen = || world.tell(&["exec", "cc", "ip", "-br", "link", "show", "eth0"]);
    assert!(seen().contains("02:00:00:00:00:07"), "{}", seen());
    // While it is stopped, the address is not reserved, as Docker has it.
    world.tell(&["stop", "-t", "0", "cc"]);
    assert_eq!(world.address("cc", "mine"), "");
    world.sleeper("dd", &["--network", "mine", "--ip", "10.99.0.40"]);
    let taken = world.refuse(&["start", "cc"]);
    assert!(taken.contains("Address already in use"), "{taken}");
    world.tell(&["rm", "-f", "dd"]);
    world.tell(&["start", "cc"]);
    assert_eq!(world.address("cc", "mine"), "10.99.0.40");
    assert!(seen().contains("02:00:00:00:00:07"), "{}", seen());
    let template = "{{json (index .NetworkSettings.Networks \"mine\").IPAMConfig}}";
    assert_eq!(world.tell(&["inspect", "-f", template, "cc"]), r#"{"IPv4Address":"10.99.0.40"}"#);
    world.tell(&["rm", "-f", "cc"]);
    world.engine.assert_nothing_left();
}

fn networks_are_strangers_but_for_published_ports() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "a"]);
    world.tell(&["network", "create", "--subnet", "10.98.0.0/24", "b"]);
    world.tell(&["network", "create", "--subnet", "10.97.0.0/24", "--internal", "cell"]);
    let bind = format!("{}/bin/busybox:/busybox:ro", testkit::busybox_rootfs().display());
    let script = "echo served > /tmp/file; exec /busybox httpd -f -p 80 -h /tmp";
    let flags = ["-d", "--name", "web", "--network", "a", "-p", "8080:80", "-v", &bind];
    let said = world.engine.run(&[&flags[..], &["host", "sh", "-c", script]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    for (name, network) in [("a1", "a"), ("b1", "b"), ("c1", "cell"), ("c2", "cell")] {
        world.sleeper(name, &["--network", network]);
    }
    let served = |mut command: Command, url: &str| {
        let output = command.args(["-sg", "-m", "2", url]).output().unwrap();
        output.stdout == b"served\n"
    };
    let host = world.engine.network.as_ref().unwrap();
    let ready = || served(host.command("curl"), "http://127.0.0.1:8080/file");
    assert!(wait_until(Duration::from_secs(10), ready), "the server is not there");
    let published = format!("http://{HOST}:8080/file");
    assert!(served(world.machine.command("curl"), &published), "from another machine");
    assert!(served(world.inside("a1", "curl"), &published), "from a neighbour");
    assert!(served(world.inside("b1", "curl"), &published), "from another network");
    assert!(served(world.inside("web", "curl"), &published), "from itself");
    let web = world.address("web", "a");
    let direct = format!("http://{web}/file");
    assert!(served(world.inside("a1", "curl"), &direct), "a neighbour needs no port");
    assert!(!served(world.inside("b1", "curl"), &direct), "another network goes by its ports");
    assert!(!served(world.machine.command("curl"), &direct), "so does another machine");

    assert!(world.reaches("b1", MACHINE) && !world.reaches("b1", &web));
    assert!(world.reaches("c1", &world.address("c2", "cell")));
    assert!(!world.reaches("c1", MACHINE) && !world.reaches("c1", &web));
    let routes = world.tell(&["exec", "c1", "ip", "route"]);
    assert!(!routes.contains("default"), "{routes}");
    // Not even by a route of its own making.
    let mut route = world.inside("c1", "ip");
    assert!(
        route.args(["route", "add", "default", "via", "10.97.0.1"]).status().unwrap().success()
    );
    assert!(!world.reaches("c1", MACHINE) && !world.reaches("c1", &web));
    let gone = world.engine.run(&["--rm", "--network", "container:web", "host", "ip", "-br", "a"]);
    assert!(gone.out.contains(&web), "{gone:?}");
}

fn a_killed_shim_leaves_no_lease_and_no_name() {
    let world = World::new();
    world.tell(&["network", "create", "--subnet", "10.99.0.0/24", "mine"]);
    world.tell(&["network", "create", "other"]);
    world.sleeper("keeper", &["--network", "mine"]);
    world.sleeper("cc", &["--network", "mine", "-p", "8080:80"]);
    world.tell(&["network", "connect", "other", "cc"]);
    let shim = world.engine.shim_of("cc");
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    let dead = || world.tell(&["inspect", "-f", "{{.State.Status}}", "cc"]) == "dead";
    assert!(wait_until(Duration::from_secs(10), dead));
    let unknown = || world.names("keeper", &["udp:cc:A"]) != ["cc 10.99.0.3"];
    assert!(wait_until(Duration::from_secs(5), unknown), "its name outlived it");
    world.tell(&["network", "rm", "other"]);
    world.sleeper("next", &["--network", "mine", "-p", "8080:80"]);
    for name in ["cc", "keeper", "next"] {
        world.tell(&["rm", "-f", name]);
    }
    world.tell(&["network", "rm", "mine"]);
    world.assert_clean();
    world.engine.assert_nothing_left();
}

fn the_options_of_a_network_do_what_they_say() {
    let world = World::new();
    world.tell(&[
        "network",
        "create",
        "--subnet",
        "10.99.0.0/24",
        "-o",
        "com.docker.network.bridge.name=pond",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.bridge.enable_icc=false",
        "-o",
        "com.docker.network.bridge.enable_ip_masquerade=false",
        "-o",
        "com.docker.network.container_iface_prefix=boat",
        "mine",
    ]);
    assert!(world.things().contains(&"pond".to_owned()));
    world.sleeper("aa", &["--network", "mine"]);
    world.sleeper("bb", &["--network", "mine"]);
    let link = world.tell(&["exec", "aa", "ip", "link", "show", "boat0"]);
    assert!(link.contains("mtu 1400"), "{link}");
    // Apart, but not from the host; and the other machine sees the container itself,
    // to whom it knows the way.
    assert!(!world.reaches("aa", "10.99.0.3") && world.reaches("aa", "10.99.0.1"));
    assert!(world.reaches("aa", MACHINE));
    for name in ["aa", "bb"] {
        world.tell(&["rm", "-f", name]);
    }
    world.tell(&["network", "rm", "mine"]);
    world.assert_clean();
}
