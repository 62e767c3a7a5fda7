//! The API as other clients than our own speak it: over a socket, byte by byte.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

#[path = "clients/daemon.rs"]
mod daemon;
#[path = "clients/shapes.rs"]
mod shapes;
#[path = "clients/streams.rs"]
mod streams;

use daemon::{Daemon, UPGRADE, head};
use shapes::*;
use streams::*;

const NETWORK: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];
const REGISTRY: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Program("busybox"),
];
const LOGIN: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Program("htpasswd"),
    Needs::Program("busybox"),
    Needs::Program("docker"),
];
const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];

fn main() {
    testkit::main(testkit::tests![
        ROOT what_says_nothing_in_particular_is_taken,
        ROOT an_exec_is_told_in_dockers_shape,
        ROOT a_program_that_cannot_be_run_is_the_askers_mistake,
        ROOT output_comes_when_the_head_of_the_answer_was_read,
        ROOT output_is_a_body_for_who_asks_for_no_upgrade,
        ROOT info_tells_what_clients_look_for,
        ROOT a_start_says_how_the_output_of_an_exec_comes,
        ROOT an_exec_is_started_once_and_may_have_many_words,
        ROOT attach_tells_what_was_said_and_ends_if_no_stream_is_wanted,
        ROOT who_waits_for_one_that_ends_this_moment_is_told,
        ROOT everyone_who_waits_for_a_start_hears_of_the_end,
        ROOT a_log_up_to_nothing_is_the_whole_log,
        ROOT a_stream_is_called_by_the_name_that_the_client_knows,
        ROOT a_page_or_a_method_that_is_not_there_is_not_found,
        ROOT a_program_without_a_terminal_may_be_told_a_size,
        ROOT an_archive_without_owners_is_roots,
        NETWORK a_hardware_address_is_told_before_the_start_and_kept,
        REGISTRY an_image_is_told_as_the_client_knows_it,
        LOGIN a_pull_is_by_whoever_the_client_says,
        LOGIN a_pull_through_a_daemon_is_by_the_user_of_the_command,
    ])
}

fn what_says_nothing_in_particular_is_taken() {
    let daemon = Daemon::start();
    let body = json!({
        "Image": "host", "Cmd": "true", "Entrypoint": null, "Env": null, "Labels": null,
        "ExposedPorts": { "80/tcp": null }, "Volumes": { "/data": {} }, "Healthcheck": null,
        "HostConfig": {
            "Binds": null, "LogConfig": { "Type": "", "Config": {} }, "NetworkMode": "none",
            "RestartPolicy": { "Name": "", "MaximumRetryCount": 0 }, "ConsoleSize": [0, 0],
            "CapAdd": null, "CgroupnsMode": "", "IpcMode": "", "PidMode": "", "UTSMode": "",
            "Isolation": "", "ShmSize": 0, "Memory": 0, "NanoCpus": 0, "MemorySwappiness": -1,
            "PidsLimit": 0, "OomKillDisable": false, "DeviceRequests": null, "Runtime": "",
            "StorageOpt": {}, "Sysctls": {}, "MaskedPaths": null, "ReadonlyPaths": null,
            "CgroupParent": daemon.engine.word,
        },
        "NetworkingConfig": { "EndpointsConfig": { "none": null } },
    });
    let (status, answer) = daemon.ask("POST", "/containers/create?name=plain", body);
    assert_eq!((status, &answer["Warnings"]), (201, &json!([])), "{answer}");
    assert_eq!(daemon.ask("POST", "/containers/plain/start", Value::Null).0, 204);
    let (_, ended) = daemon.ask("POST", "/containers/plain/wait", Value::Null);
    assert_eq!(ended["StatusCode"], 0, "{ended}");
    assert_eq!(daemon.ask("DELETE", "/containers/plain?v=1", Value::Null).0, 204);
    daemon.end();
}

fn an_exec_is_told_in_dockers_shape() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    let exec = daemon.exec(&box_, &["sh", "-c", "exit 3"]);
    let (_, before) = daemon.ask("GET", &format!("/exec/{exec}/json"), Value::Null);
    assert_eq!(before.get("ExitCode"), Some(&Value::Null), "{before}");
    assert_eq!((&before["Running"], &before["Pid"]), (&json!(false), &json!(0)));
    let (status, _) = daemon.ask("POST", &format!("/exec/{exec}/start"), json!({ "Detach": true }));
    assert_eq!(status, 200);
    let ended = || daemon.ask("GET", &format!("/exec/{exec}/json"), Value::Null).1["ExitCode"] == 3;
    assert!(wait_until(Duration::from_secs(20), ended));
    // It has nothing any more that could have a size.
    let resize = format!("/exec/{exec}/resize?h=24&w=80");
    assert_eq!(daemon.ask("POST", &resize, Value::Null).0, 404);
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

fn a_program_that_cannot_be_run_is_the_askers_mistake() {
    let daemon = Daemon::start();
    // Docker's clients make an exit code of these words.
    for (program, words) in [
        ("nosuch", "executable file not found"),
        ("/no", "no such file"),
        ("/etc", "is a directory"),
    ] {
        let id = daemon.container(&[program]);
        let (status, answer) = daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null);
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(words), "{program}: {status} {answer}");
        daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    }
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    // Of an exec it is all that is said.
    let exec = daemon.exec(&box_, &["nosuch"]);
    let stream = daemon.send("POST", &format!("/exec/{exec}/start"), UPGRADE, &json!({}));
    let (status, _, mut rest) = head(stream);
    let mut said = Vec::new();
    rest.read_to_end(&mut said).unwrap();
    assert_eq!((status, said[0]), (101, 1), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said[8..]).contains("executable file not found"));
    let (_, ended) = daemon.ask("GET", &format!("/exec/{exec}/json"), Value::Null);
    assert_eq!(ended["ExitCode"], 127, "{ended}");
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

/// Some clients read the head through a buffer, and the stream past it.
fn output_comes_when_the_head_of_the_answer_was_read() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    for _ in 0..10 {
        let exec = daemon.exec(&box_, &["echo", "hi"]);
        let mut stream = daemon.send("POST", &format!("/exec/{exec}/start"), UPGRADE, &json!({}));
        let mut buffer = [0; 65536];
        let length = stream.read(&mut buffer).unwrap();
        let first = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(first.ends_with("\r\n\r\n"), "{first:?}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\x01\0\0\0\0\0\0\x03hi\n");
    }
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

fn output_is_a_body_for_who_asks_for_no_upgrade() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    let exec = daemon.exec(&box_, &["sh", "-c", "echo one; sleep 0.1; echo two >&2"]);
    let more = "Connection: close\r\n";
    let stream = daemon.send("POST", &format!("/exec/{exec}/start"), more, &json!({}));
    let (status, head, mut rest) = head(stream);
    assert!(status == 200 && head.contains("multiplexed-stream"), "{head}");
    let mut said = Vec::new();
    rest.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("one\n") && said.contains("two\n"), "{said:?}");
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

fn info_tells_what_clients_look_for() {
    let daemon = Daemon::start();
    let (status, info) = daemon.ask("GET", "/info", Value::Null);
    assert_eq!(status, 200);
    for number in ["Containers", "Images", "NCPU", "MemTotal"] {
        assert!(info[number].is_number(), "{number}: {info}");
    }
    for text in ["ID", "Name", "ServerVersion", "OperatingSystem", "Architecture", "SystemTime"] {
        assert!(info[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {info}");
    }
    assert_eq!(info["OSType"], "linux");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert!(info["SecurityOptions"].is_array() && info["Warnings"].is_array(), "{info}");
}
