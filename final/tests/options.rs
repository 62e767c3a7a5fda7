//! What `run` and `create` can be asked for does what it says, seen from inside.

use std::fs;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use testkit::Needs;

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::Engine;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const NETWORK: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];
const V1: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::CgroupV1];

fn main() {
    testkit::main(testkit::tests![
        ROOT a_privileged_container_may_do_what_the_engine_may,
        ROOT capabilities_are_given_and_taken,
        ROOT a_list_of_system_calls_of_the_users_own_counts,
        ROOT security_options_are_dockers,
        ROOT devices_appear_with_their_access,
        ROOT the_processs_limits_are_set,
        ROOT kernel_parameters_are_set_in_the_containers_namespaces_only,
        ROOT namespaces_of_the_host_are_shared_when_asked,
        ROOT processes_and_memory_of_another_container_are_shared,
        ROOT an_init_is_shown_as_dockers,
        ROOT names_are_as_asked,
        NETWORK hosts_and_name_servers_are_as_asked,
        ROOT labels_and_variables_come_from_files_too,
        ROOT variables_are_in_dockers_order,
        ROOT a_users_own_group_is_among_its_groups,
        ROOT volumes_of_another_container_are_mounted,
        ROOT roots_and_memory_files_are_as_asked,
        ROOT a_log_can_be_left_out,
        ROOT a_log_keeps_what_it_is_told_with_every_line,
        V1 memory_waits_where_nothing_may_be_killed,
        ROOT what_cannot_be_done_is_refused_in_a_sentence,
    ]);
}

/// What a shell script prints in a container with these flags.
#[track_caller]
fn inside(engine: &Engine, flags: &[&str], script: &str) -> String {
    let words = [&["--rm"], flags, &["host", "sh", "-c", script]].concat();
    let said = engine.run(&words);
    assert_eq!(said.code, 0, "{flags:?}: {said:?}");
    said.out
}

fn a_privileged_container_may_do_what_the_engine_may() {
    let engine = Engine::new();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ours = status.lines().find(|line| line.starts_with("CapBnd")).unwrap();
    let script = "grep CapBnd /proc/self/status; grep Seccomp: /proc/self/status; \
        test -w /sys/kernel && echo sys; echo 1 > /proc/sys/kernel/domainname && echo proc; \
        ls /sys/firmware | wc -l; mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted; \
        head -c 1 /dev/full | wc -c; mknod /tmp/x c 1 11; cat < /tmp/x > /dev/null & sleep 0.05; \
        kill $! 2> /dev/null; wait; ls /dev | grep -cE '^(console|kmsg|full)$'";
    let said = inside(&engine, &["--privileged"], script);
    let firmware = fs::read_dir("/sys/firmware").unwrap().count();
    let nodes = ["console", "kmsg", "full"].map(|name| Path::new("/dev").join(name).exists());
    let nodes = nodes.into_iter().filter(|there| *there).count()
        - usize::from(Path::new("/dev/console").exists());
    let expected = format!("{ours}\nSeccomp:\t0\nsys\nproc\n{firmware}\nmounted\n1\n{nodes}\n");
    assert_eq!(said, expected);
    engine.assert_nothing_left();
}

fn capabilities_are_given_and_taken() {
    let engine = Engine::new();
    let caps = |flags: &[&str]| {
        let said = inside(&engine, flags, "grep CapBnd /proc/self/status");
        u64::from_str_radix(said.trim_start_matches("CapBnd:").trim(), 16).unwrap()
    };
    let (chown, net_admin, sys_time) = (1 << 0, 1 << 12, 1 << 25);
    let default = 0xa804_25fb;
    assert_eq!(caps(&[]), default);
    let more = ["--cap-add", "net_admin", "--cap-add", "CAP_SYS_TIME", "--cap-drop", "CHOWN"];
    assert_eq!(caps(&more), (default | net_admin | sys_time) & !chown);
    assert_eq!(caps(&["--cap-drop", "all", "--cap-add", "CHOWN"]), chown);
    assert_eq!(caps(&["--cap-drop", "CHOWN", "--cap-add", "CHOWN"]), default);
    let all = caps(&["--cap-add", "ALL", "--cap-drop", "CAP_CHOWN"]);
    assert_eq!((all & chown, all & net_admin), (0, net_admin));
    // What comes with a capability is also let through by the list of system calls.
    let mount = "mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted";
    assert_eq!(inside(&engine, &["--cap-add", "SYS_ADMIN"], mount), "mounted\n");
    engine.assert_nothing_left();
}

fn a_list_of_system_calls_of_the_users_own_counts() {
    let engine = Engine::new();
    let file = engine.root.path().join("list.json");
    let list = r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
         "includes": {}, "excludes": {"caps": ["CAP_NET_ADMIN"]}}]}"#;
    fs::write(&file, list).unwrap();
    let option = format!("seccomp={}", file.display());
    let script = "mkdir /tmp/a 2>&1 || true";
    let said = inside(&engine, &["--security-opt", &option], script);
    assert!(said.contains("No space left on device"), "{said}");
    // A condition on a capability is settled by what this container has.
    let flags = ["--security-opt", &option, "--cap-add", "NET_ADMIN"];
    assert_eq!(inside(&engine, &flags, script), "");
    fs::write(&file, r#"{"defaultAction": "SCMP_ACT_WISH"}"#).unwrap();
    let said = engine.run(&["--rm", "--security-opt", &option, "host", "true"]);
    assert!(said.code == 125 && said.err.contains("seccomp profile"), "{said:?}");
    engine.assert_nothing_left();
}

fn security_options_are_dockers() {
    let engine = Engine::new();
    let facts = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n' ' '";
    let with = |options: &[&str]| {
        let flags: Vec<_> = options.iter().flat_map(|option| ["--security-opt", option]).collect();
        inside(&engine, &flags, facts)
    };
    assert_eq!(with(&[]), "NoNewPrivs:\t0 Seccomp:\t2 ");
    assert_eq!(with(&["no-new-privileges:true"]), "NoNewPrivs:\t1 Seccomp:\t2 ");
    assert_eq!(with(&["no-new-privileges=false"]), "NoNewPrivs:\t0 Seccomp:\t2 ");
    assert_eq!(with(&["seccomp=unconfined"]), "NoNewPrivs:\t0 Seccomp:\t0 ");
    assert_eq!(with(&["apparmor=unconfined", "label=disable"]), "NoNewPrivs:\t0 Seccomp:\t2 ");
    let open = ["--security-opt", "systempaths=unconfined"];
    let script = "grep -cE ' /proc/[a-z]' /proc/mounts || true";
    assert_eq!(inside(&engine, &open, script), "0\n");
    let write = ["--security-opt", "writable-cgroups=true"];
    assert_eq!(
        inside(&engine, &write, "grep -c ' /sys/fs/cgroup.* cgroup2* ro' /proc/mounts || true"),
        "0\n"
    );
    engine.assert_nothing_left();
}

fn devices_appear_with_their_access() {
    let engine = Engine::new();
    let folder = engine.root.path().join("devices");
    fs::create_dir_all(folder.join("more")).unwrap();
    // A device that is not among those that every container may use.
    let make = |name: &str, minor| {
        let path = folder.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o640), makedev(10, minor)).unwrap();
        path.display().to_string()
    };
    let (one, _) = (make("one", 200), make("more/two", 229));
    let device = format!("{one}:/dev/mine:r");
    let script = "stat -c '%F %t:%T %a' /dev/mine; \
        (: < /dev/mine) 2>&1 | grep -c 'not permitted'; (: > /dev/mine) 2>&1 | grep -c 'not permitted'";
    let said = inside(&engine, &["--device", &device], &format!("{script}; true"));
    assert_eq!(said, "character special file a:c8 640\n0\n1\n");
    // A folder brings all that is in it.
    let device = format!("{}:/dev/all", folder.display());
    let said = inside(&engine, &["--device", &device], "cd /dev/all && find . -type c | sort");
    assert_eq!(said, "./more/two\n./one\n");
    // A rule permits, and makes nothing.
    let script = "mknod /tmp/x c 10 200; (: < /tmp/x) 2>&1 | grep -c 'not permitted'; true";
    assert_eq!(inside(&engine, &[], script), "1\n");
    assert_eq!(inside(&engine, &["--device-cgroup-rule", "c 10:* rwm"], script), "0\n");
    let said = engine.run(&["--rm", "--device", "/dev/nothing", "host", "true"]);
    assert!(said.code == 125 && said.err.contains("look up the device /dev/nothing"), "{said:?}");
    engine.assert_nothing_left();
}

fn the_processs_limits_are_set() {
    let engine = Engine::new();
    let flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "321"];
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj";
    assert_eq!(inside(&engine, &flags, script), "100\n200\n0\n321\n");
    let groups = ["--group-add", "44", "--group-add", "root", "-u", "12:34"];
    let sorted = "id -G | tr ' ' '\n' | sort -n | tr '\n' ' '";
    assert_eq!(inside(&engine, &groups, sorted), "0 34 44 ");
    // An exec has them too.
    let words = [&flags[..], &["-d", "--name", "box", "host", "sleep", "60"]].concat();
    engine.run(&words);
    assert_eq!(engine.tell(&["exec", "box", "sh", "-c", script]), "100\n200\n0\n321");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn kernel_parameters_are_set_in_the_containers_namespaces_only() {
    let engine = Engine::new();
    let parameter = "/proc/sys/kernel/shmmni";
    let before = fs::read_to_string(parameter).unwrap();
    let flags = ["--sysctl", "kernel.shmmni=321", "--sysctl", "net/ipv4/ip_forward=1"];
    let script = "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward";
    assert_eq!(inside(&engine, &flags, script), "321\n1\n");
    assert_eq!(fs::read_to_string(parameter).unwrap(), before);
    for bad in ["kernel.core_pattern=x", "vm.swappiness=1", "net/../kernel/core_pattern=x", "net=1"]
    {
        let said = engine.run(&["--rm", "--sysctl", bad, "host", "true"]);
        assert!(said.code == 125 && said.err.contains("set the sysctl"), "{bad}: {said:?}");
    }
    let said =
        engine.run(&["--rm", "--ipc", "host", "--sysctl", "kernel.shmmni=1", "host", "true"]);
    assert!(said.code == 125 && said.err.contains("the host's ipc namespace"), "{said:?}");
    engine.assert_nothing_left();
}

fn namespaces_of_the_host_are_shared_when_asked() {
    let engine = Engine::new();
    let own =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    for (flag, kind) in
        [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")]
    {
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(inside(&engine, &[flag, "host"], &script).trim(), own(kind), "{flag} host");
        assert_ne!(inside(&engine, &[], &script).trim(), own(kind), "{flag}");
    }
    assert_eq!(
        inside(&engine, &["--userns", "host"], "readlink /proc/self/ns/user").trim(),
        own("user")
    );
    // With the host's ipc namespace comes its shared memory, with none there is none.
    let shm = "grep -c ' /dev/shm ' /proc/mounts || true";
    assert_eq!(inside(&engine, &["--ipc", "none"], shm), "0\n");
    assert_eq!(inside(&engine, &["--ipc", "private"], shm), "1\n");
    let said = engine.run(&["--rm", "--uts", "host", "-h", "name", "host", "true"]);
    assert!(said.err.contains("conflicting options: hostname and the UTS mode"), "{said:?}");
    engine.assert_nothing_left();
}

fn processes_and_memory_of_another_container_are_shared() {
    let engine = Engine::new();
    let give = "echo shared > /dev/shm/file; exec sleep 1234";
    engine.run(&["-d", "--name", "giver", "--ipc", "shareable", "host", "sh", "-c", give]);
    engine.run(&["-d", "--name", "closed", "host", "sleep", "60"]);
    let flags = ["--pid", "container:giver", "--ipc", "container:giver"];
    let script = "cat /dev/shm/file; cat /proc/1/cmdline | tr '\\0' ' '; echo; \
        test \"$(readlink /proc/1/ns/ipc)\" = \"$(readlink /proc/self/ns/ipc)\" && echo one; \
        echo back > /dev/shm/back";
    assert_eq!(inside(&engine, &flags, script), "shared\nsleep 1234 \none\n");
    assert_eq!(engine.tell(&["exec", "giver", "cat", "/dev/shm/back"]), "back");
    // With an init, which is not the first process there, and in the background.
    engine.run(&[
        "-d",
        "--init",
        "--name",
        "guest",
        "--pid",
        "container:giver",
        "host",
        "sleep",
        "77",
    ]);
    let seen =
        engine.tell(&["exec", "giver", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
    assert!(seen.contains("sleep 77"), "{seen}");
    assert_eq!(engine.tell(&["exec", "guest", "cat", "/proc/1/comm"]), "sleep");
    let said = engine.run(&["--rm", "--ipc", "container:closed", "host", "true"]);
    assert!(said.code == 125 && said.err.contains("non-shareable IPC"), "{said:?}");
    // Where the other one has ended, so has everything in its pid namespace.
    engine.tell(&["kill", "giver"]);
    assert_eq!(engine.tell(&["wait", "guest"]), "137");
    let said = engine.run(&["--rm", "--pid", "container:giver", "host", "true"]);
    assert!(said.code != 0 && said.err.contains("is not running"), "{said:?}");
    engine.tell(&["rm", "-f", "giver", "closed", "guest"]);
    engine.assert_nothing_left();
}

fn an_init_is_shown_as_dockers() {
    let engine = Engine::new();
    let script = "tr '\\0' ' ' < /proc/1/cmdline | head -c 31; echo; cat /proc/1/comm";
    let said = inside(&engine, &["--init", "-e", "SECRET=1"], script);
    assert_eq!(said, "/sbin/docker-init -- sh -c tr '\ndocker-init\n");
    // Shorter or longer than what was there before: nothing of ours shows.
    let long = "x".repeat(3000);
    for words in [&["true"][..], &["true", &long]] {
        let name = ["-d", "--name", "box", "--init", "host", "sh", "-c", "sleep 60; exit", "sh"];
        engine.run(&[&name[..], words].concat());
        let seen = engine.tell(&["exec", "box", "cat", "/proc/1/cmdline"]);
        assert!(seen.starts_with("/sbin/docker-init"), "{seen}");
        assert!(!seen.contains("coracle") && !seen.contains("PATH="), "{seen}");
        engine.tell(&["rm", "-f", "box"]);
    }
    engine.assert_nothing_left();
}

fn names_are_as_asked() {
    let engine = Engine::new();
    let flags = ["-h", "boat", "--domainname", "example"];
    let script = "hostname; cat /proc/sys/kernel/domainname; cat /etc/hostname; echo $HOSTNAME";
    assert_eq!(inside(&engine, &flags, script), "boat\nexample\nboat\nboat\n");
    let flags = ["--add-host", "one:10.0.0.1", "--dns", "10.0.0.53", "--dns-search", "a.example"];
    let script = "grep one /etc/hosts; cat /etc/resolv.conf | grep -v '^#'";
    let said = inside(&engine, &flags, script);
    assert_eq!(said.lines().next(), Some("10.0.0.1\tone"), "{said}");
    assert!(said.contains("nameserver 10.0.0.53\nsearch a.example\n"), "{said}");
    engine.assert_nothing_left();
}

fn hosts_and_name_servers_are_as_asked() {
    let engine = Engine::with_network();
    let flags = ["--add-host", "up:host-gateway", "--dns-option", "ndots:3"];
    let script = "grep up /etc/hosts; grep options /etc/resolv.conf; ip -4 route | grep default";
    let said = inside(&engine, &flags, script);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[1], "options ndots:3", "{said}");
    let gateway = lines[0].split('\t').next().unwrap();
    assert!(lines[2].contains(&format!("via {gateway} ")), "{said}");
    engine.assert_nothing_left();
}

fn variables_are_in_dockers_order() {
    let engine = Engine::new();
    let words = ["-t", "--name", "box", "-h", "box", "-e", "B=2", "-e", "PATH=/bin", "-e", "A=1"];
    let said = engine.run(&[&words[..], &["host", "env"]].concat());
    assert_eq!(said.out, "PATH=/bin\r\nHOSTNAME=box\r\nTERM=xterm\r\nB=2\r\nA=1\r\nHOME=/root\r\n");
    let shown = engine.tell(&["inspect", "-f", "{{json .Config.Env}}", "box"]);
    assert_eq!(shown, r#"["B=2","PATH=/bin","A=1"]"#);
    engine.tell(&["rm", "box"]);
    engine.run(&["-d", "--name", "box", "-e", "A=1", "-e", "B=1", "host", "sleep", "1000"]);
    let exec = engine.tell(&["exec", "-e", "A=2", "-e", "C=3", "box", "sh", "-c", "echo $A$B$C"]);
    assert_eq!(exec, "213");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// CVE-2022-36109: a program that takes on another group must not lose the user's own.
fn a_users_own_group_is_among_its_groups() {
    let engine = Engine::new();
    let groups = |flags: &[&str]| inside(&engine, flags, "id -G; grep Groups /proc/self/status");
    assert_eq!(groups(&["-u", "12:34"]), "34\nGroups:\t34 \n");
    assert_eq!(groups(&["-u", "12345"]), "0\nGroups:\t0 \n");
    let added = ["-u", "12:34", "--group-add", "99", "--group-add", "34", "--group-add", "7"];
    assert_eq!(groups(&added), "34 7 99\nGroups:\t7 34 99 \n");
    engine.run(&["-d", "--name", "box", "--group-add", "77", "host", "sleep", "1000"]);
    assert_eq!(engine.tell(&["exec", "-u", "12:34", "box", "id", "-G"]), "34 77");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn labels_and_variables_come_from_files_too() {
    let engine = Engine::new();
    let path = |name: &str, text: &str| {
        let path = engine.root.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (env, labels) = (path("env", "# none\nA=1\nB=two words\n"), path("labels", "x=1\ny=2\n"));
    let id = engine.root.path().join("id").display().to_string();
    let flags = [
        "--env-file",
        &env,
        "-e",
        "A=3",
        "--label-file",
        &labels,
        "-l",
        "y=3",
        "--annotation",
        "k=v",
    ];
    let more = ["--cidfile", &id, "--name", "box", "-d", "host", "sleep", "60"];
    let said = engine.run(&[&flags[..], &more].concat());
    assert_eq!(fs::read_to_string(&id).unwrap(), said.out.trim());
    assert_eq!(engine.tell(&["exec", "box", "sh", "-c", "echo $A $B"]), "3 two words");
    let shown = engine.tell(&["inspect", "box"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Config"]["Labels"]["x"], "1");
    assert_eq!(shown[0]["Config"]["Labels"]["y"], "3");
    assert_eq!(shown[0]["HostConfig"]["Annotations"]["k"], "v");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn volumes_of_another_container_are_mounted() {
    let engine = Engine::new();
    let folder = engine.root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let bind = format!("{}:/bind", folder.display());
    let flags = ["--name", "giver", "-v", "data:/data", "-v", "/anonymous", "-v", &bind];
    let script = "echo 1 > /data/f; echo 2 > /anonymous/f; echo 3 > /bind/f";
    engine.run(&[&flags[..], &["host", "sh", "-c", script]].concat());
    let read = "cat /data/f /anonymous/f /bind/f";
    assert_eq!(inside(&engine, &["--volumes-from", "giver"], read), "1\n2\n3\n");
    let script = "cat /data/f; touch /data/x 2>&1 | grep -c 'Read-only'; true";
    assert_eq!(inside(&engine, &["--volumes-from", "giver:ro"], script), "1\n1\n");
    // One's own mount at the same place counts more.
    let own = ["--volumes-from", "giver", "--tmpfs", "/bind"];
    assert_eq!(inside(&engine, &own, "ls /bind; cat /data/f"), "1\n");
    let said = engine.run(&["--rm", "--volumes-from", "nobody", "host", "true"]);
    assert!(said.err.contains("No such container: nobody"), "{said:?}");
    engine.tell(&["rm", "-v", "giver"]);
    engine.tell(&["volume", "rm", "data"]);
    assert_eq!(engine.tell(&["volume", "ls", "-q"]), "");
    engine.assert_nothing_left();
}

fn roots_and_memory_files_are_as_asked() {
    let engine = Engine::new();
    let flags = ["--read-only", "--tmpfs", "/tmp:size=1m", "--shm-size", "2m"];
    let script = "touch /x 2>&1 | grep -c 'Read-only'; touch /tmp/x && echo tmp; \
        df -k --output=size /tmp /dev/shm | tail -n 2 | tr -d ' '";
    assert_eq!(inside(&engine, &flags, script), "1\ntmp\n1024\n2048\n");
    // The engine's own files are of the root.
    let script = "for file in hosts hostname resolv.conf; do \
        touch /etc/$file 2>&1 | grep -c 'Read-only'; done";
    assert_eq!(inside(&engine, &["--read-only"], script), "1\n1\n1\n");
    engine.run(&["-d", "--name", "box", "host", "sleep", "60"]);
    let joined = ["--read-only", "--network", "container:box"];
    assert_eq!(inside(&engine, &joined, script), "1\n1\n1\n");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn a_log_can_be_left_out() {
    let engine = Engine::new();
    let said = engine.run(&["--name", "mute", "--log-driver", "none", "host", "echo", "said"]);
    assert_eq!(said.out, "said\n", "{said:?}");
    let said = engine.ask(&["logs", "mute"]);
    assert!(said.code != 0 && said.err.contains("does not support reading"), "{said:?}");
    engine.tell(&["rm", "mute"]);
    for (driver, option) in [("json-file", "max-size=1m"), ("local", "max-file=2")] {
        let words = ["--rm", "--log-driver", driver, "--log-opt", option, "host", "true"];
        assert_eq!(engine.run(&words).code, 0, "{driver} {option}");
    }
    let said = engine.run(&["--rm", "--log-driver", "syslog", "host", "true"]);
    assert!(said.err.contains("no log driver named 'syslog' is registered"), "{said:?}");
    engine.assert_nothing_left();
}

fn a_log_keeps_what_it_is_told_with_every_line() {
    let engine = Engine::new();
    let asked = ["--log-opt", "labels=a,b", "--log-opt", "env=X", "--log-opt", "env-regex=^Y"];
    let tag = ["--log-opt", "tag={{.Name}}", "-l", "a=1", "-l", "b=two, x=y", "-l", "other=3"];
    let more =
        ["-e", "X=9", "-e", "Y=7", "-e", "Z=0", "host", "sh", "-c", "echo one; echo; echo two"];
    engine.run(&[&["--name", "kept"], &asked[..], &tag, &more].concat());
    let prefix = "X=9,Y=7,a=1,b=two%2C+x%3Dy,tag=kept ";
    let details = engine.tell(&["logs", "--details", "kept"]);
    assert_eq!(details, format!("{prefix}one\n{prefix}\n{prefix}two"));
    assert_eq!(engine.tell(&["logs", "kept"]), "one\n\ntwo");
    let timed = engine.tell(&["logs", "--details", "-t", "-n", "1", "kept"]);
    assert!(timed.ends_with(&format!("Z {prefix}two")), "{timed}");
    engine.run(&["--name", "plain", "host", "echo", "x"]);
    assert_eq!(engine.tell(&["logs", "--details", "plain"]), "x");
    for wrong in ["nope=1", "labels-regex=(", "tag={{.Nope}}"] {
        let refused = engine.run(&["--log-opt", wrong, "host", "true"]);
        assert_eq!((refused.code, refused.err.lines().count()), (125, 1), "{refused:?}");
    }
    engine.tell(&["rm", "kept", "plain"]);
    engine.assert_nothing_left();
}

fn memory_waits_where_nothing_may_be_killed() {
    let engine = Engine::new();
    let flags = ["-m", "32m", "--oom-kill-disable"];
    let script = "head -n 1 /sys/fs/cgroup/memory/memory.oom_control";
    assert_eq!(inside(&engine, &flags, script), "oom_kill_disable 1\n");
    assert_eq!(inside(&engine, &["-m", "32m"], script), "oom_kill_disable 0\n");
    engine.assert_nothing_left();
}

fn what_cannot_be_done_is_refused_in_a_sentence() {
    let engine = Engine::new();
    for (flags, why) in [
        (&["--gpus", "all"][..], "could not select device driver"),
        (&["--runtime", "kata"], "unknown or invalid runtime name: kata"),
        (&["--isolation", "hyperv"], "invalid isolation 'hyperv'"),
        (&["--storage-opt", "size=1g"], "--storage-opt is not supported"),
        (&["--link", "a:b"], "could not get container for a: No such container: a"),
        (&["--cap-add", "WISHES"], "unknown capability: \"CAP_WISHES\""),
        (&["--security-opt", "wishes=all"], "invalid --security-opt"),
        (&["--ulimit", "wishes=1"], "invalid ulimit type: wishes"),
        (&["--stop-signal", "WISHES"], "Invalid signal: WISHES"),
        (&["--oom-score-adj", "1001"], "Invalid value 1001, range for oom score adj"),
        (&["--log-opt", "max-file=0"], "invalid value '0' of log option max-file"),
        (&["-e", ""], "invalid environment variable: "),
        (&["--pid", "mine"], "invalid PID mode: mine"),
        (&["--ipc", "mine"], "invalid IPC mode: mine"),
        (
            &["--platform", "linux/s390x", "--pull", "never"],
            "does not match the specified platform",
        ),
    ] {
        let said = engine.run(&[&["--rm"], flags, &["host", "true"]].concat());
        assert_eq!(said.code, 125, "{flags:?}: {said:?}");
        assert!(said.err.contains(why) && said.err.lines().count() == 1, "{flags:?}: {said:?}");
    }
    for words in [["--runtime", "runc"], ["--isolation", "default"]] {
        let words = [&["--rm"], &words[..], &["host", "true"]].concat();
        assert_eq!(engine.run(&words).code, 0, "{words:?}");
    }
    engine.assert_nothing_left();
}
