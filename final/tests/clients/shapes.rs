//! What clients take for granted in answers, and what they may ask for.

use std::io::{Read, Write};

use serde_json::{Value, json};
use testkit::Registry;

use crate::daemon::{Daemon, head};

pub fn a_page_or_a_method_that_is_not_there_is_not_found() {
    let daemon = Daemon::start();
    let missing = json!({ "message": "page not found" });
    for (method, path) in
        [("GET", "/no/such"), ("PUT", "/containers/json"), ("GET", "/images/x/nothing")]
    {
        assert_eq!(daemon.ask(method, path, Value::Null), (404, missing.clone()), "{path}");
    }
    // What was sent is no hindrance to the next request.
    let large = Value::String("x".repeat(200_000));
    let mut stream = daemon.send("POST", "/no/such", "", &large);
    let next = "GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(next.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("two answers");
    assert!(said.starts_with("HTTP/1.1 404") && said.ends_with("\r\n\r\nOK"), "{said}");
    // Some look whether they are on a swarm, and leave one in any case.
    for (method, path) in [("GET", "/swarm"), ("GET", "/nodes"), ("POST", "/swarm/leave?force=1")] {
        let (status, answer) = daemon.ask(method, path, Value::Null);
        let words = answer["message"].as_str().unwrap_or_default();
        assert!(status == 503 && words.starts_with("This node is not"), "{path}: {answer}");
    }
    assert_eq!(daemon.ask("GET", "/plugins", Value::Null), (200, json!([])));
    daemon.end();
}

pub fn a_program_without_a_terminal_may_be_told_a_size() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    let resize =
        |size: &str| daemon.ask("POST", &format!("/containers/{box_}/resize{size}"), Value::Null).0;
    assert_eq!(resize("?h=24&w=80"), 409, "it does not run yet");
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    assert_eq!((resize("?h=24&w=80"), resize("?h=24"), resize("?h=x&w=1")), (200, 400, 400));
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

/// Go's tar reads a number that is not there as 0.
pub fn an_archive_without_owners_is_roots() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["true"]);
    let mut header = [0; 512];
    header[..4].copy_from_slice(b"file");
    header[124..135].copy_from_slice(b"00000000003");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(b"hi\n");
    archive.resize(2048, 0);
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    let request = format!(
        "PUT /v1.43/containers/{box_}/archive?path=/tmp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(&archive).unwrap();
    let (status, _, mut rest) = head(stream);
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    assert_eq!(status, 200, "{said}");
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

pub fn a_hardware_address_is_told_before_the_start_and_kept() {
    let daemon = Daemon::with_network();
    let address = "02:42:0a:0b:0c:0d";
    let (status, answer) = daemon.ask(
        "POST",
        "/networks/create",
        json!({ "name": "north sea", "Options": { "note": "x" } }),
    );
    assert_eq!(status, 201, "{answer}");
    let body = json!({ "Image": "host", "Cmd": ["sleep", "60"], "MacAddress": address,
        "HostConfig": { "NetworkMode": "north sea", "CgroupParent": daemon.engine.word } });
    let (status, answer) = daemon.ask("POST", "/containers/create?name=boat", body);
    assert_eq!(status, 201, "{answer}");
    let shown = || {
        let (_, boat) = daemon.ask("GET", "/containers/boat/json", Value::Null);
        boat["NetworkSettings"]["Networks"]["north sea"]["MacAddress"].clone()
    };
    assert_eq!(shown(), address);
    let (status, answer) = daemon.ask("POST", "/containers/boat/start", Value::Null);
    assert_eq!(status, 204, "{answer}");
    assert_eq!(shown(), address);
    // With version 1 of cgroups, every processor's part is known.
    let (_, stats) = daemon.ask("GET", "/containers/boat/stats?stream=0&one-shot=1", Value::Null);
    let usage = &stats["cpu_stats"]["cpu_usage"];
    let sum =
        usage["percpu_usage"].as_array().map(|all| all.iter().filter_map(Value::as_u64).sum());
    assert!(sum.is_none_or(|sum: u64| sum > 0), "{usage}");
    // Who does not run has no place on a network.
    daemon.ask("POST", "/containers/boat/stop?t=0", Value::Null);
    let (_, boat) = daemon.ask("GET", "/containers/boat/json", Value::Null);
    assert_eq!(boat["NetworkSettings"]["Networks"]["north sea"]["IPAddress"], "");
    daemon.ask("DELETE", "/containers/boat?force=1", Value::Null);
    assert_eq!(daemon.ask("DELETE", "/networks/north%20sea", Value::Null).0, 204);
}

pub fn an_image_is_told_as_the_client_knows_it() {
    let registry = Registry::start();
    let work = testkit::temp_dir();
    let layer = testkit::tar_of(&testkit::busybox_rootfs());
    let config = json!({ "Cmd": ["true"], "Volumes": { "/data": {} } });
    testkit::oci_layout(&work.path().join("image"), &[layer], config);
    registry.push(&work.path().join("image"), "box:1");
    let daemon = Daemon::start();
    let name = registry.reference("box");
    let pull = |tag: &str| {
        daemon.ask("POST", &format!("/images/create?fromImage={name}&tag={tag}"), Value::Null).0
    };
    assert_eq!((pull("none"), pull("1")), (404, 200));
    let (status, found) = daemon.ask("GET", &format!("/distribution/{name}:1/json"), Value::Null);
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["Platforms"][0]["os"], "linux", "{found}");
    let digest = found["Descriptor"]["digest"].as_str().unwrap_or_default().to_owned();
    assert_eq!(daemon.ask("GET", &format!("/distribution/{name}:none/json"), Value::Null).0, 404);
    let image = |version: &str| {
        daemon.ask("GET", &format!("/v{version}/images/{name}:1/json"), Value::Null).1
    };
    assert_eq!(image("1.51")["RepoDigests"], json!([format!("{name}@{digest}")]));
    assert!(image("1.44")["ContainerConfig"]["Env"].is_null());
    assert!(image("1.44")["ContainerConfig"].is_object() && image("1.44")["VirtualSize"].is_null());
    assert!(image("1.43")["VirtualSize"].is_number());
    assert!(image("1.44").get("Container").is_some() && image("1.45").get("Container").is_none());
    // Without a label there are none.
    let (_, list) = daemon.ask("GET", "/images/json", Value::Null);
    let labels = list.as_array().unwrap().iter().find(|i| i["RepoTags"][0] == format!("{name}:1"));
    assert_eq!(labels.unwrap()["Labels"], Value::Null, "{list}");
    let body = json!({ "Image": format!("{name}:1"), "HostConfig": { "NetworkMode": "none" } });
    let (_, made) = daemon.ask("POST", "/containers/create", body);
    let path = format!("/containers/{}", made["Id"].as_str().unwrap());
    let (_, shown) = daemon.ask("GET", &format!("{path}/json"), Value::Null);
    assert_eq!(shown["Config"]["Volumes"], json!({ "/data": {} }));
    assert_eq!(daemon.ask("DELETE", &format!("{path}?v=1"), Value::Null).0, 204);
    daemon.end();
}

/// A registry that is boat's, whose word is secret; a folder; and the name of an image.
fn registry_with_login() -> (Registry, tempfile::TempDir, String) {
    let registry = Registry::with_login("boat", "secret");
    let work = testkit::temp_dir();
    let layer = testkit::tar_of(&testkit::busybox_rootfs());
    testkit::oci_layout(&work.path().join("image"), &[layer], json!({ "Cmd": ["true"] }));
    let name = registry.push(&work.path().join("image"), "box:1");
    (registry, work, name)
}

pub fn a_pull_is_by_whoever_the_client_says() {
    let (registry, work, name) = registry_with_login();
    let daemon = Daemon::start();
    let docker = |words: &[&str]| {
        let mut docker = std::process::Command::new("docker");
        docker.arg("--config").arg(work.path().join("docker"));
        docker.arg("--host").arg(format!("unix://{}", daemon.socket().display())).args(words);
        let said = docker.stdin(std::process::Stdio::null()).output().expect("run docker");
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        (said.status.code(), error)
    };
    // Nobody, then somebody else, then who may.
    let (code, error) = docker(&["pull", "-q", &name]);
    assert!(code == Some(1) && error.contains("denied"), "{error}");
    let (code, error) = docker(&["login", "-u", "boat", "-p", "wrong", &registry.address()]);
    assert!(code == Some(1) && error.contains("no such user"), "{error}");
    let (code, error) = docker(&["login", "-u", "boat", "-p", "secret", &registry.address()]);
    assert_eq!(code, Some(0), "{error}");
    let (code, error) = docker(&["pull", "-q", &name]);
    assert_eq!(code, Some(0), "{error}");
    // The secret is nobody else's.
    daemon.ask("DELETE", &format!("/images/{name}?force=1"), Value::Null);
    let (status, _) = daemon.ask("POST", &format!("/images/create?fromImage={name}"), Value::Null);
    assert_eq!(status, 500);
    daemon.end();
}

pub fn a_pull_through_a_daemon_is_by_the_user_of_the_command() {
    let (registry, work, name) = registry_with_login();
    let daemon = Daemon::start();
    let coracle = |auth: &str, words: &[&str]| {
        let auths = json!({ "auths": { registry.address(): { "auth": auth } } });
        std::fs::write(work.path().join("config.json"), auths.to_string()).unwrap();
        let mut coracle = daemon.engine.command(words);
        let said = coracle.env("DOCKER_CONFIG", work.path()).output().expect("run coracle");
        (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    // Nobody, somebody else, and who may: boat, whose word is secret.
    let (nobody, other, boat) = ("", "Ym9hdDp3cm9uZw==", "Ym9hdDpzZWNyZXQ=");
    for refused in [nobody, other] {
        let (code, error) = coracle(refused, &["pull", "-q", &name]);
        assert!(code == Some(1) && error.contains("denied"), "{error}");
    }
    let run = ["run", "--rm", "--network", "none", "--cgroup-parent", &daemon.engine.word, &name];
    for words in [&["pull", "-q", &name][..], &run, &["create", "--name", "made", &name]] {
        let (code, error) = coracle(boat, words);
        assert_eq!(code, Some(0), "{words:?}: {error}");
        daemon.ask("DELETE", "/containers/made", Value::Null);
        daemon.ask("DELETE", &format!("/images/{name}?force=1"), Value::Null);
    }
    daemon.end();
}
