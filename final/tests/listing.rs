//! What lists, shows and cleans up, told as Docker tells it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::Engine;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const DOCKER: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Program("docker")];
fn main() {
    testkit::main(testkit::tests![
        ROOT containers_are_listed_in_dockers_columns,
        ROOT a_template_takes_a_list_apart,
        ROOT filters_narrow_a_list_down,
        ROOT a_filter_that_makes_no_sense_is_told,
        ROOT inspect_has_every_field_that_docker_has,
        ROOT inspect_finds_things_of_any_kind,
        ROOT a_template_that_does_not_fit_ends_with_dockers_exit_code,
        ROOT pruning_removes_what_nobody_needs_and_nothing_else,
        ROOT a_question_without_an_answer_is_a_no,
        ROOT what_takes_room_is_counted,
        ROOT commands_have_two_names,
        DOCKER docker_prints_the_same_of_us_as_we_do,
    ]);
}

/// Containers that were created: `one`, and after it `two`, with labels and a volume.
fn two_containers() -> Engine {
    let engine = Engine::new();
    engine.tell(&["create", "-q", "--name", "one", "-l", "a=1", "host", "sleep", "1000"]);
    let two = ["create", "--name", "two", "-l", "a=2", "-l", "b.c-d=x", "-v", "data:/data"];
    engine.tell(&[&two[..], &["host", "sh", "-c", "exit 3"]].concat());
    engine
}

fn containers_are_listed_in_dockers_columns() {
    let engine = two_containers();
    let list = engine.tell(&["ps", "-a"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE     COMMAND            CREATED"), "{list}");
    assert!(lines[0].ends_with("STATUS    PORTS     NAMES"), "{list}");
    assert!(lines[1].contains(r#"   host      "sh -c 'exit 3'"   "#), "{list}");
    assert!(lines[1].ends_with("   Created             two"), "{list}");
    assert_eq!(lines.len(), 3);
    assert_eq!(engine.tell(&["ps", "-a", "-n", "1", "--format", "{{.Names}}"]), "two");
    assert_eq!(engine.tell(&["ps", "-l", "-q"]), engine.tell(&["ps", "-aqf", "name=two"]));
    assert_eq!(engine.tell(&["ps", "-q"]), "");
    let json: Json = serde_json::from_str(&engine.tell(&["ps", "-l", "--format", "json"])).unwrap();
    let expected = [
        ("Command", r#""sh -c 'exit 3'""#),
        ("Image", "host"),
        ("Labels", "a=2,b.c-d=x"),
        ("LocalVolumes", "1"),
        ("Mounts", "data"),
        ("Names", "two"),
        ("Ports", ""),
        ("Size", "0B"),
        ("State", "created"),
        ("Status", "Created"),
    ];
    for (field, text) in expected {
        assert_eq!(json[field], text, "{field}: {json}");
    }
    let size = engine.tell(&["ps", "-a", "-f", "name=one", "--format", "{{.Size}}"]);
    assert!(size.starts_with("0B (virtual ") && size.ends_with("MB)"), "{size}");
    remove_all(&engine);
}

fn a_template_takes_a_list_apart() {
    let engine = two_containers();
    let table = "table {{.Names}}\\t{{upper .Image}}\\t{{.Label \"b.c-d\"}}";
    assert_eq!(
        engine.tell(&["ps", "-a", "--format", table]),
        "NAMES     IMAGE     c d\ntwo       HOST      x\none       HOST"
    );
    let text =
        "{{if eq .Names \"two\"}}{{.State | printf \"%-8s\"}}|{{else}}{{json .Names}}{{end}}";
    assert_eq!(engine.tell(&["ps", "-a", "--format", text]), "created |\n\"one\"");
    assert_eq!(
        engine.tell(&["volume", "ls", "--format", "{{.Name}}:{{.Driver}}:{{.Links}}"]),
        "data:local:N/A"
    );
    let wrong = engine.ask(&["ps", "--format", "{{.Nope}}"]);
    assert_eq!(
        (wrong.code, wrong.err.as_str()),
        (
            1,
            "coracle: failed to execute template: template: :1:2: executing \"\" at <.Nope>: \
             can't evaluate field Nope in type *formatter.ContainerContext\n"
        )
    );
    remove_all(&engine);
}

fn filters_narrow_a_list_down() {
    let engine = two_containers();
    assert_eq!(engine.ask(&["start", "-a", "two"]).code, 3);
    let names = |filters: &[&str]| {
        let mut words = vec!["ps", "-a", "--format", "{{.Names}}"];
        filters.iter().for_each(|filter| words.extend(["-f", filter]));
        engine.tell(&words).replace('\n', " ")
    };
    let id = engine.tell(&["inspect", "-f", "{{.Id}}", "one"]);
    for (filters, expected) in [
        (&["name=^t"][..], "two"),
        (&["name=o"], "two one"),
        (&["name=^/one$"], "one"),
        (&[&format!("id={}", &id[..8])], "one"),
        (&["label=a"], "two one"),
        (&["label=a=2"], "two"),
        (&["label=a", "label=b.c-d"], "two"),
        (&["status=exited"], "two"),
        (&["status=created", "status=exited"], "two one"),
        (&["exited=3"], "two"),
        (&["exited=0"], ""),
        (&["before=two"], "one"),
        (&["since=one"], "two"),
        (&["ancestor=host"], "two one"),
        (&["ancestor=nosuch"], ""),
        (&["volume=data"], "two"),
        (&["volume=/data"], "two"),
        (&["health=none"], "two one"),
        (&["is-task=false"], "two one"),
        (&["is-task=true"], ""),
        (&["publish=80"], ""),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    remove_all(&engine);
}

fn a_filter_that_makes_no_sense_is_told() {
    let engine = Engine::new();
    let states = "created, running, paused, restarting, removing, exited, dead";
    for (words, told) in [
        (&["ps", "-f", "foo=bar"][..], "invalid filter 'foo'".to_owned()),
        (
            &["ps", "-f", "status=foo"],
            format!(
                "invalid filter 'status=foo': invalid value for state (foo): must be one of {states}"
            ),
        ),
        (&["ps", "-f", "is-task=x"], "invalid filter 'is-task=[x]'".into()),
        (&["ps", "-f", "before=nosuch"], "No such container: nosuch".into()),
        (
            &["ps", "-f", "publish=80:80"],
            "filter for 'publish' should not contain ':': 80:80".into(),
        ),
        (&["images", "-f", "dangling=x"], "invalid filter 'dangling=[x]'".into()),
        (&["volume", "ls", "-f", "foo=1"], "invalid filter 'foo'".into()),
        (&["container", "prune", "-f", "--filter", "foo=1"], "invalid filter 'foo'".into()),
    ] {
        let said = engine.ask(words);
        assert_eq!((said.code, said.err), (1, format!("coracle: {told}\n")), "{words:?}");
    }
    let said = engine.ask(&["ps", "-f", "foo"]);
    let told = "bad format of filter (expected name=value)";
    assert!(said.code == 125 && said.err.contains(told), "{said:?}");
}

fn inspect_has_every_field_that_docker_has() {
    let engine = two_containers();
    let all: Json = serde_json::from_str(&engine.tell(&["inspect", "one"])).unwrap();
    let one = &all[0];
    let strings = [
        "/ResolvConfPath",
        "/MountLabel",
        "/ProcessLabel",
        "/AppArmorProfile",
        "/State/Error",
        "/HostConfig/ContainerIDFile",
        "/HostConfig/PidMode",
        "/HostConfig/UTSMode",
        "/HostConfig/UsernsMode",
        "/HostConfig/Isolation",
        "/HostConfig/CpusetCpus",
        "/Config/Domainname",
        "/Config/User",
        "/NetworkSettings/IPAddress",
        "/NetworkSettings/MacAddress",
        "/NetworkSettings/Gateway",
        "/NetworkSettings/Bridge",
        "/GraphDriver/Data/UpperDir",
        "/GraphDriver/Data/LowerDir",
    ];
    for field in strings {
        assert!(one.pointer(field).is_some_and(Json::is_string), "{field}: {one:#}");
    }
    let nulls = [
        "/ExecIDs",
        "/HostConfig/Links",
        "/HostConfig/VolumesFrom",
        "/HostConfig/MemorySwappiness",
        "/HostConfig/DeviceRequests",
        "/HostConfig/GroupAdd",
        "/Config/OnBuild",
        "/NetworkSettings/SecondaryIPAddresses",
    ];
    for field in nulls {
        assert!(one.pointer(field).is_some_and(Json::is_null), "{field}: {one:#}");
    }
    let fixed = [
        ("/State/Status", "\"created\""),
        ("/State/StartedAt", "\"0001-01-01T00:00:00Z\""),
        ("/Driver", "\"overlay2\""),
        ("/Platform", "\"linux\""),
        ("/Name", "\"/one\""),
        ("/Args", "[\"1000\"]"),
        ("/Mounts", "[]"),
        ("/HostConfig/LogConfig/Type", "\"json-file\""),
        ("/HostConfig/RestartPolicy/Name", "\"no\""),
        ("/HostConfig/ShmSize", "67108864"),
        ("/HostConfig/IpcMode", "\"private\""),
        ("/HostConfig/Runtime", "\"runc\""),
        ("/HostConfig/ConsoleSize", "[0,0]"),
        ("/Config/Labels", "{\"a\":\"1\"}"),
        ("/NetworkSettings/Ports", "{}"),
    ];
    for (field, value) in fixed {
        let found = one.pointer(field).map(Json::to_string);
        assert_eq!(found.as_deref(), Some(value), "{field}");
    }
    let text = engine.tell(&["inspect", "-f", "json", "one"]);
    assert!(text.starts_with(r#"[{"Id":""#) && text.contains(r#","State":{"Status":"#), "{text}");
    let size = engine.tell(&["inspect", "-s", "-f", "{{.SizeRw}} {{gt .SizeRootFs 1000}}", "one"]);
    assert_eq!(size, "0 true");
    remove_all(&engine);
}

fn inspect_finds_things_of_any_kind() {
    let engine = two_containers();
    let text = "{{if .State}}c{{else}}-{{end}}";
    assert_eq!(engine.tell(&["inspect", "-f", text, "one"]), "c");
    let names = engine.ask(&["inspect", "-f", "{{json .}}", "one", "data", "nosuch", "host"]);
    assert_eq!((names.code, names.out.lines().count()), (1, 3), "{names:?}");
    assert_eq!(names.err, "coracle: No such object: nosuch\n");
    let kind = engine.ask(&["inspect", "--type", "image", "one"]);
    assert_eq!(
        (kind.code, kind.out.as_str(), kind.err.as_str()),
        (1, "[]\n", "coracle: No such image: one:latest\n")
    );
    let text = "{{.Name}} {{.Scope}} {{.Labels}}";
    assert_eq!(engine.tell(&["volume", "inspect", "-f", text, "data"]), "data local map[]");
    remove_all(&engine);
}

fn a_template_that_does_not_fit_ends_with_dockers_exit_code() {
    let engine = two_containers();
    let wrong = engine.ask(&["inspect", "-f", "{{.Name", "one"]);
    let told = "coracle: template parsing error: template: :1: unclosed action\n";
    assert_eq!((wrong.code, wrong.err.as_str()), (64, told));
    let wrong = engine.ask(&["inspect", "-f", "{{.Nope}}", "one"]);
    let told = "coracle: template parsing error: template: :1:2: executing \"\" at <.Nope>: \
                map has no entry for key \"Nope\"\n";
    assert_eq!((wrong.code, wrong.out.as_str(), wrong.err.as_str()), (1, "\n", told));
    let text = "{{.State.Health}} {{.HostConfig.RestartPolicy}} {{index .Config.Labels \"nope\"}}|";
    assert_eq!(engine.tell(&["inspect", "-f", text, "one"]), "<nil> {no 0} |");
    assert_eq!(engine.tell(&["version", "-f", "{{.Client.Version}}"]), env!("CARGO_PKG_VERSION"));
    assert_eq!(engine.ask(&["version", "-f", "{{"]).code, 64);
    assert_eq!(engine.tell(&["info", "-f", "{{.Containers}} {{.OSType}}"]), "2 linux");
    remove_all(&engine);
}

fn pruning_removes_what_nobody_needs_and_nothing_else() {
    let engine = two_containers();
    engine.run(&["-d", "--name", "runs", "-v", "/anonymous", "host", "sleep", "1000"]);
    engine.tell(&["volume", "create", "kept"]);
    let none = engine.tell(&["container", "prune", "-f", "--filter", "until=24h"]);
    assert_eq!(none, "Total reclaimed space: 0B");
    let id = engine.tell(&["inspect", "-f", "{{.Id}}", "two"]);
    let pruned = engine.tell(&["container", "prune", "-f", "--filter", "label!=a=1"]);
    assert_eq!(pruned, format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B"));
    assert_eq!(engine.tell(&["image", "prune", "-af"]), "Total reclaimed space: 0B");
    // Of the volumes, one has a name, one a container, one both, and the last nothing.
    let volume = engine.tell(&["volume", "create"]);
    assert_eq!(
        engine.tell(&["volume", "prune", "-f"]),
        format!("Deleted Volumes:\n{volume}\n\nTotal reclaimed space: 0B")
    );
    let dangling = engine.tell(&["volume", "ls", "-qf", "dangling=true"]);
    assert_eq!(dangling, "data\nkept");
    remove_all(&engine);
    engine.tell(&["volume", "prune", "-af"]);
    assert_eq!(engine.tell(&["volume", "ls", "-q"]), "");
    let pruned = engine.tell(&["image", "prune", "-af"]);
    assert!(pruned.starts_with("Deleted Images:\nuntagged: host:latest\ndeleted: sha256:"));
    assert!(pruned.ends_with("MB"), "{pruned}");
    assert_eq!(engine.tell(&["images", "-q"]), "");
}

fn a_question_without_an_answer_is_a_no() {
    let engine = two_containers();
    let asked = engine.ask(&["container", "prune"]);
    assert_eq!(
        (asked.code, asked.out.as_str()),
        (
            0,
            "WARNING! This will remove all stopped containers.\n\
             Are you sure you want to continue? [y/N] "
        )
    );
    assert!(engine.ask(&["system", "prune"]).out.contains("  - all dangling images\n"));
    assert_eq!(engine.tell(&["ps", "-aq"]).lines().count(), 2);
    let wrong = engine.ask(&["system", "prune", "-f", "--volumes", "--filter", "until=1h"]);
    assert!(wrong.code == 1 && wrong.err.contains("not supported with \"--volumes\""), "{wrong:?}");
    remove_all(&engine);
}

fn what_takes_room_is_counted() {
    let engine = two_containers();
    let script = "head -c 1500000 /dev/zero > /file; head -c 2500 /dev/zero > /data/file";
    engine.run(&["--name", "wrote", "-v", "data:/data", "host", "sh", "-c", script]);
    let rows = engine.tell(&[
        "system",
        "df",
        "--format",
        "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}",
    ]);
    let rows: Vec<&str> = rows.lines().collect();
    assert!(rows[0].starts_with("Images 1 1 ") && rows[0].ends_with("MB"), "{rows:?}");
    assert_eq!(
        rows[1..],
        ["Containers 3 0 1.5MB", "Local Volumes 1 1 2.5kB", "Build Cache 0 0 0B"]
    );
    let sizes = engine.tell(&["ps", "-asf", "name=wrote", "--format", "{{.Size}}"]);
    assert!(sizes.starts_with("1.5MB (virtual "), "{sizes}");
    let all = engine.tell(&["system", "df", "-v"]);
    assert!(all.contains("data          2         2.5kB\n"), "{all}");
    remove_all(&engine);
}

fn commands_have_two_names() {
    let engine = two_containers();
    for (one, other) in [
        (&["ps", "-aq"][..], &["container", "ls", "-aq"][..]),
        (&["ps", "-aq"], &["container", "list", "-aq"]),
        (&["images", "-q"], &["image", "ls", "-q"]),
        (&["inspect", "one"], &["container", "inspect", "one"]),
        (&["inspect", "host"], &["image", "inspect", "host"]),
        (&["history", "-q", "host"], &["image", "history", "-q", "host"]),
    ] {
        assert_eq!(engine.tell(one), engine.tell(other), "{other:?}");
    }
    assert_eq!(engine.tell(&["container", "rm", "one"]), "one");
    assert_eq!(engine.ask(&["container", "start", "-a", "two"]).code, 3);
    remove_all(&engine);
}

/// A daemon on the engine's own root.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn docker_prints_the_same_of_us_as_we_do() {
    let engine = two_containers();
    assert_eq!(engine.ask(&["start", "-a", "two"]).code, 3);
    let mut command = engine.command(&["daemon"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _daemon = Daemon(command.spawn().unwrap());
    let socket = engine.root.path().join("run/coracle.sock");
    let listens = || UnixStream::connect(&socket).is_ok();
    assert!(wait_until(Duration::from_secs(20), listens), "no daemon listens");
    let docker = |words: &[&str]| {
        let host = format!("unix://{}", socket.display());
        let output = Command::new("docker").args(["-H", &host]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    let fields = "{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Labels}} {{.Mounts}} \
                  {{.LocalVolumes}} {{.Networks}} {{.Ports}} {{.Size}}";
    for words in [
        &["ps", "-a", "--format", fields][..],
        &["ps", "-aq", "--no-trunc", "--filter", "exited=3"],
        &["ps", "-aq", "--filter", "name=^one$", "--filter", "label=a"],
        &["images"],
        &["images", "-q", "--no-trunc"],
        &["history", "host"],
        &["volume", "ls"],
        &["volume", "inspect", "data"],
        &["inspect", "one", "two"],
        &["inspect", "-f", "{{.State}} {{.Mounts}} {{.HostConfig.RestartPolicy}}", "two"],
        &["image", "inspect", "host"],
        &["system", "df"],
        &["system", "df", "--format", "json"],
    ] {
        assert_eq!(docker(words), engine.tell(words), "{words:?}");
    }
    // Some clients name the folder of each bind among the volumes, too.
    let body = r#"{"Image":"host","Cmd":["true"],"Volumes":{"/d":{}},"HostConfig":{"Binds":["data:/d:ro"]}}"#;
    let answer = post(&socket, "/v1.41/containers/create?name=bound", body);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let mounts = "{{range .Mounts}}{{.Name}} {{.Destination}} {{.RW}};{{end}}";
    assert_eq!(docker(&["inspect", "-f", mounts, "bound"]), "data /d false;");
    let pruned = docker(&["container", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
    assert_eq!(docker(&["ps", "-aq"]), "");
    docker(&["volume", "rm", "data"]);
    let pruned = docker(&["system", "prune", "-af"]);
    assert!(pruned.contains("untagged: host:latest\n"), "{pruned}");
}

/// An answer, its head and its body.
fn post(socket: &Path, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    let head = "Host: engine\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn remove_all(engine: &Engine) {
    let ids = engine.tell(&["ps", "-aq"]);
    let mut words = vec!["rm", "-f"];
    words.extend(ids.lines());
    engine.tell(&words);
    engine.assert_nothing_left();
}
