//! What stays and what goes: ports, leases and rules, after an exit and a kill.

mod world;

use std::collections::BTreeSet;

use testkit::{Leftovers, Needs, test};
use world::{Done, HOST, MACHINE, World, ask, wait, wait_for};

const NET: &[Needs] =
    &[Needs::Network, Needs::Overlay, Needs::Program("busybox"), Needs::Program("curl")];
const IPTABLES: &[Needs] = &[
    Needs::Network,
    Needs::Overlay,
    Needs::Program("busybox"),
    Needs::Program("curl"),
    Needs::Program("iptables-nft"),
    Needs::Program("iptables-legacy"),
];

fn main() {
    testkit::main(vec![
        test("a_port_in_use_is_one_sentence_and_leaves_nothing", NET, port_in_use),
        test("a_failed_start_gives_the_port_back", NET, failed_start),
        test("the_kernel_or_a_range_chooses_the_port", NET, chosen_ports),
        test("after_the_exit_nothing_is_left", NET, nothing_is_left),
        test("a_directory_to_stand_on_stays_as_it_is", NET, directory_stays),
        test("a_killed_owner_leaves_nothing", NET, killed_owner),
        test("what_a_massacre_leaves_the_next_start_sweeps", NET, massacre),
        test("many_containers_start_at_once", NET, many_at_once),
        test("a_start_without_ports_runs_no_nft", NET, no_nft_process),
        test("a_flushed_firewall_is_set_up_again", NET, flushed_firewall),
        test("containers_work_beside_docker", IPTABLES, || beside_docker("iptables-nft")),
        test("containers_work_beside_an_old_docker", IPTABLES, || beside_docker("iptables-legacy")),
        test("rules_that_iptables_cannot_read_stop_nobody", IPTABLES, rules_of_nft),
        test("a_subnet_in_use_is_left_alone", NET, subnet_in_use),
        test("engines_that_start_at_once_have_different_subnets", NET, engines_at_once),
        test("a_bridge_that_was_half_made_or_switched_off_is_mended", NET, mended_bridge),
    ])
}

fn port_in_use() {
    let world = World::new();
    let _server = world.serve(&["-p", "8080:80"]);
    wait_for(&world.host, "127.0.0.1:8080");
    let before = Leftovers::inside(&world.host, &[&world.root().display().to_string()]);
    let words = ["run", "--rootfs", "-p", "9090:90", "-p", "8080:80", "/", "true"];
    let refused = Done::of_any(&mut world.command(&words));
    assert_eq!(refused.code, Some(125));
    let sentence = "networking: port 8080/tcp is already in use on 0.0.0.0: container ";
    assert!(refused.err.starts_with(sentence), "{refused:?}");
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    before.assert_none();
    assert_eq!(world.leases().len(), 1);
    // The port that was free still is.
    world.run(&["-p", "9090:90"], "true");
}

fn failed_start() {
    let world = World::new();
    let words = ["run", "--rootfs", "-p", "8080:80", "/", "/no/such/program"];
    let failed = Done::of_any(&mut world.command(&words));
    assert_eq!(failed.code, Some(127), "{failed:?}");
    assert_eq!(world.leases(), [""; 0]);
    assert!(!world.published().contains("8080"), "{}", world.published());
    world.run(&["-p", "8080:80"], "true");
}

fn chosen_ports() {
    let world = World::new();
    let _server = world.serve(&["-p", "80", "-p", "8000-8001:80"]);
    wait_for(&world.host, "127.0.0.1:8000");
    let published = world.published();
    let ports = published.matches(" comment ").count();
    assert_eq!(ports, 2, "{published}");
    let chosen = published.split("tcp . ").skip(1).find(|port| !port.starts_with("8000"));
    let chosen = chosen.and_then(|port| port.split(' ').next()).expect("a chosen port");
    assert_eq!(ask(&world.machine, &format!("{HOST}:{chosen}")), "hello");
    // The next container of the range gets the next port.
    let _second = world.serve(&["-p", "8000-8001:80"]);
    wait_for(&world.machine, &format!("{HOST}:8001"));
}

fn nothing_is_left() {
    let world = World::new();
    world.run(&[], "true");
    let before = Leftovers::inside(&world.host, &[&world.root().display().to_string()]);
    world.run(&["-p", "8080:80", "-p", "5353:53/udp"], "true");
    before.assert_none();
    assert_eq!(world.leases(), [""; 0]);
    assert!(!world.published().contains("8080"));
    // Nothing at all, once the network is taken down.
    let bridge = world.bridge();
    Done::of(world.command(&["network", "down"]));
    let mut ip = world.host.command("ip");
    assert!(!Done::of_any(ip.args(["-br", "link"])).out.contains(&bridge));
    assert_eq!(Done::of_any(world.host.command("nft").args(["list", "tables"])).out, "");
    // And a container brings it back.
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
}

fn directory_stays() {
    let world = World::new();
    let image = testkit::busybox_rootfs();
    let script = "echo x > /file; rm /bin/sh; ls /file";
    let words = ["run", "--rootfs", image.to_str().expect("UTF-8"), "sh", "-c", script];
    assert_eq!(Done::of(world.command(&words)).out, "/file");
    assert!(!image.join("file").exists() && image.join("bin/sh").exists());
}

fn killed_owner() {
    let world = World::new();
    world.run(&[], "true");
    let before = Leftovers::inside(&world.host, &[&world.root().display().to_string()]);
    let mut server = world.serve(&["-p", "8080:80"]);
    wait_for(&world.host, "127.0.0.1:8080");
    server.0.kill().expect("kill the owner");
    let _ = server.0.wait();
    wait("the sentinel", || world.leases().is_empty());
    before.assert_none();
    assert!(!world.published().contains("8080"));
}

fn massacre() {
    let world = World::new();
    let mut server = world.serve(&["-p", "8080:80"]);
    let address = world.address();
    wait_for(&world.host, "127.0.0.1:8080");
    // The sentinel, the container and the proxy first, so that nobody tidies up.
    let pid = server.0.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let stop = |pid: &str, signal: &str| {
        Done::of_any(std::process::Command::new("kill").args([signal, pid]));
    };
    let pid = pid.to_string();
    stop(&pid, "-STOP");
    let children = children.expect("the owner's children");
    children.split_whitespace().for_each(|child| stop(child, "-KILL"));
    stop(&pid, "-KILL");
    let _ = server.0.wait();
    wait("the cable to go", || {
        let links = Done::of_any(world.host.command("ip").args(["-br", "link"])).out;
        !links.contains("veth")
    });
    assert_eq!(world.leases(), [address.as_str()], "the lease tells what is left");
    assert!(world.published().contains("8080"));

    world.run(&["-p", "8080:80"], "true");
    assert_eq!(world.leases(), [""; 0]);
    assert!(!world.published().contains("8080"));
    // The cgroup is another lesson's, and nobody is left to remove it.
    remove_cgroup(&format!("{:x}", server.0.id()));
}

fn remove_cgroup(id: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(hierarchy.path().join("coracle").join(id));
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup/coracle/{id}"));
}

fn many_at_once() {
    let world = World::new();
    let script = "ip -4 -br address show eth0 | awk '{print $3}'; sleep 1";
    let addresses: Vec<String> = std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| world.run(&["-p", "80"], script).out);
        let all: Vec<_> = (0..8).map(start).collect();
        all.into_iter().map(|one| one.join().expect("a container")).collect()
    });
    let different: BTreeSet<_> = addresses.iter().collect();
    assert_eq!(different.len(), 8, "{addresses:?}");
    assert_eq!(world.leases(), [""; 0]);
}

fn no_nft_process() {
    let world = World::new();
    let told = |flags: &[&str]| world.run(&[&["--explain"], flags].concat(), "true").err;
    assert!(told(&[]).contains("nft -f -  add table"), "the first start makes the table");
    let second = told(&[]);
    assert!(!second.contains("nft"), "{second}");
    assert!(told(&["-p", "8080:80"]).contains("nft -f -  add element"));
}

fn flushed_firewall() {
    let world = World::new();
    let _server = world.serve(&["-p", "8080:80"]);
    wait_for(&world.machine, "192.0.2.1:8080");
    Done::of_any(world.host.command("nft").args(["flush", "ruleset"]));
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
    assert!(world.published().contains("8080"), "{}", world.published());
    assert_eq!(ask(&world.machine, "192.0.2.1:8080"), "hello");
}

/// What dockerd does to a host: forwarding is off but for its own.
fn beside_docker(iptables: &str) {
    let world = World::new();
    let rule = |words: &str| {
        let mut command = world.host.command(iptables);
        command.args(words.split(' '));
        Done::of(command).out
    };
    // One container was there before Docker, one comes after.
    world.run(&[], "true");
    rule("-P FORWARD DROP");
    rule("-N DOCKER-USER");
    rule("-A DOCKER-USER -j RETURN");
    rule("-A FORWARD -j DOCKER-USER");
    let _server = world.serve(&["-p", "8080:80"]);
    wait_for(&world.machine, "192.0.2.1:8080");
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
    let rules = rule("-S DOCKER-USER");
    let mark = format!("coracle-{}", world.bridge());
    assert_eq!(rules.matches(&mark).count(), 4, "set once, whoever starts: {rules}");

    drop(_server);
    wait("the end of the server", || world.leases().is_empty());
    Done::of(world.command(&["network", "down"]));
    assert_eq!(rule("-S DOCKER-USER"), "-N DOCKER-USER\n-A DOCKER-USER -j RETURN");
}

fn rules_of_nft() {
    let world = World::new();
    let chain = |policy: &str| {
        let hook = format!("type filter hook forward priority 0; policy {policy};");
        let rules =
            format!("table ip filter {{ chain FORWARD {{ {hook} fib daddr type local drop; }}; }}");
        Done::of_any(world.host.command("nft").arg("flush ruleset; ".to_owned() + &rules))
    };
    assert_eq!(chain("accept").code, Some(0));
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
    // Where they let nobody through there is no network to be had, and that is said.
    assert_eq!(chain("drop").code, Some(0));
    let refused = Done::of_any(&mut world.command(&["run", "--rootfs", "/", "true"]));
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.err.contains("iptables-nft -S FORWARD: "), "{refused:?}");
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
}

fn subnet_in_use() {
    let world = World::new();
    world.run(&[], "true");
    let shown = Done::of(world.command(&["network", "inspect"])).out;
    let field = |text: &str| {
        let at = text.find("\"subnet\": \"").expect("a subnet") + 11;
        text[at..].split('"').next().expect("its end").to_owned()
    };
    let subnet = field(&shown);
    // While the bridge is down, somebody else routes the subnet.
    Done::of(world.command(&["network", "down"]));
    world.host.ip(&format!("route add {subnet} dev wire0"));
    world.run(&[], &format!("ping -c1 -W2 {MACHINE}"));
    let moved = field(&Done::of(world.command(&["network", "inspect"])).out);
    assert_ne!(subnet, moved);
}

fn engines_at_once() {
    let world = World::new();
    // Most of the pool is somebody else's: nearly all of them will want the same subnet.
    for taken in ["10.80.0.0/13", "10.88.0.0/14"] {
        world.host.ip(&format!("route add {taken} dev wire0"));
    }
    let roots: Vec<_> = (0..8).map(|_| testkit::temp_dir()).collect();
    let words = ["run", "--rootfs", "/", "true"];
    std::thread::scope(|scope| {
        for root in &roots {
            let command = world.command_at(root.path(), &words);
            scope.spawn(move || Done::of(command));
        }
    });
    let shown = Done::of_any(world.host.command("ip").args(["-br", "-4", "address"])).out;
    let bridges: Vec<_> = shown.lines().filter(|line| line.starts_with("cor")).collect();
    let address = |line: &&str| line.split_whitespace().last().unwrap_or_default().to_owned();
    let different: BTreeSet<_> = bridges.iter().map(address).collect();
    assert_eq!((bridges.len(), different.len()), (8, 8), "{shown}");
}

fn mended_bridge() {
    let world = World::new();
    let reach = format!("ping -c1 -W2 {MACHINE}");
    world.run(&[], &reach);
    let bridge = world.bridge();
    world.host.ip(&format!("link set {bridge} down"));
    world.run(&[], &reach);
    world.host.ip(&format!("address flush dev {bridge}"));
    world.run(&[], &reach);
    // As it is when somebody is killed between the link and its address.
    world.host.ip(&format!("link delete {bridge}"));
    world.host.ip(&format!("link add {bridge} type bridge"));
    world.run(&[], &reach);
    // Somebody's sysctl.conf was loaded again.
    let off = ["-qw", "net.ipv4.ip_forward=0"];
    Done::of_any(world.host.command("sysctl").args(off));
    world.run(&[], &reach);
}
