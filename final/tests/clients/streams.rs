//! Output, in frames or without, at the right time, and to its end.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, UPGRADE, head};

/// All that an upgraded request brings after the head.
fn all(daemon: &Daemon, path: &str, body: &Value) -> (String, Vec<u8>) {
    let stream = daemon.send("POST", path, UPGRADE, body);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (status, head, mut rest) = head(stream);
    assert_eq!(status, 101, "{head}");
    let mut said = Vec::new();
    rest.read_to_end(&mut said).expect("an end");
    (head, said)
}

pub fn a_start_says_how_the_output_of_an_exec_comes() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    for (created, started) in [(true, true), (true, false), (false, true), (false, false)] {
        let body = json!({ "Cmd": ["printf", "hi"], "AttachStdout": true, "Tty": created });
        let (_, exec) = daemon.ask("POST", &format!("/containers/{box_}/exec"), body);
        let path = format!("/exec/{}/start", exec["Id"].as_str().unwrap());
        let (head, said) = all(&daemon, &path, &json!({ "Tty": started }));
        let expected: &[u8] = if started { b"hi" } else { b"\x01\0\0\0\0\0\0\x02hi" };
        assert_eq!(said, expected, "created {created}, started {started}");
        assert_eq!(head.contains("multiplexed"), !started, "{head}");
    }
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

pub fn an_exec_is_started_once_and_may_have_many_words() {
    let daemon = Daemon::start();
    let box_ = daemon.container(&["sleep", "60"]);
    daemon.ask("POST", &format!("/containers/{box_}/start"), Value::Null);
    // The kernel takes 128 KiB as one word, and 2 MiB of them.
    let word = "x".repeat(100_000);
    let mut words = vec!["sh", "-c", "echo $#"];
    words.extend([word.as_str(); 15]);
    let exec = daemon.exec(&box_, &words);
    let start = format!("/exec/{exec}/start");
    // Two clients at once, and one that comes later.
    let begin = || daemon.ask("POST", &start, json!({ "Detach": true })).0;
    let mut both = std::thread::scope(|scope| {
        let other = scope.spawn(begin);
        [begin(), other.join().unwrap()]
    });
    both.sort_unstable();
    assert_eq!((both, begin()), ([200, 409], 409));
    let shown = format!("/exec/{exec}/json");
    let ended = || daemon.ask("GET", &shown, Value::Null).1["ExitCode"] == 0;
    assert!(testkit::wait_until(std::time::Duration::from_secs(20), ended));
    daemon.ask("DELETE", &format!("/containers/{box_}?force=1"), Value::Null);
    daemon.end();
}

pub fn attach_tells_what_was_said_and_ends_if_no_stream_is_wanted() {
    let daemon = Daemon::start();
    let id = daemon.container(&["sh", "-c", "echo early"]);
    daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null);
    daemon.ask("POST", &format!("/containers/{id}/wait"), Value::Null);
    let attach = format!("/containers/{id}/attach?stdout=1&stderr=1");
    assert_eq!(all(&daemon, &format!("{attach}&logs=1"), &Value::Null).1[8..], *b"early\n");
    assert_eq!(all(&daemon, &attach, &Value::Null).1, b"");
    daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    // And then what it says from now on.
    let id = daemon.container(&["sh", "-c", "echo early; sleep 2; echo late"]);
    daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null);
    std::thread::sleep(Duration::from_millis(500));
    let path = format!("/containers/{id}/attach?stdout=1&stderr=1&logs=1&stream=1");
    let (_, said) = all(&daemon, &path, &Value::Null);
    assert_eq!(said, b"\x01\0\0\0\0\0\0\x06early\n\x01\0\0\0\0\0\0\x05late\n");
    daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    daemon.end();
}

pub fn everyone_who_waits_for_a_start_hears_of_the_end() {
    let daemon = Daemon::start();
    let id = daemon.container(&["sh", "-c", "echo said; exit 3"]);
    // More than a shim can be born with.
    let path = format!("/containers/{id}/wait?condition=next-exit");
    let waiting: Vec<_> = (0..70)
        .map(|_| {
            let stream = daemon.send("POST", &path, "", &Value::Null);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            head(stream).2
        })
        .collect();
    let path = format!("/containers/{id}/attach?stream=1&stdout=1");
    let (status, _, mut output) = head(daemon.send("POST", &path, UPGRADE, &Value::Null));
    assert_eq!(status, 101);
    assert_eq!(daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null).0, 204);
    for mut rest in waiting {
        let mut said = [0; 64];
        let length = rest.read(&mut said).expect("an answer");
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        assert!(said.contains("\"StatusCode\":3"), "{said}");
    }
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert!(said.ends_with(b"said\n"), "{said:?}");
    daemon.ask("DELETE", &format!("/containers/{id}"), Value::Null);
    daemon.end();
}

pub fn who_waits_for_one_that_ends_this_moment_is_told() {
    let daemon = Daemon::start();
    for pause in 0..40 {
        let id = daemon.container(&["sh", "-c", "exit 3"]);
        daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null);
        std::thread::sleep(Duration::from_micros(pause * 200));
        let begin = Instant::now();
        let stream = daemon.send("POST", &format!("/containers/{id}/wait"), "", &Value::Null);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (_, _, mut rest) = head(stream);
        let mut said = [0; 64];
        let length = rest.read(&mut said).expect("an answer");
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        assert!(said.contains("\"StatusCode\":3"), "{said} after {:?}", begin.elapsed());
        daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    }
    daemon.end();
}

pub fn a_log_up_to_nothing_is_the_whole_log() {
    let daemon = Daemon::start();
    let id = daemon.container(&["echo", "hi"]);
    daemon.ask("POST", &format!("/containers/{id}/start"), Value::Null);
    daemon.ask("POST", &format!("/containers/{id}/wait"), Value::Null);
    let path = format!("/containers/{id}/logs?stdout=1&since=0&until=0&tail=all");
    let stream = daemon.send("GET", &path, "Connection: close\r\n", &Value::Null);
    let (_, _, mut rest) = head(stream);
    let mut said = Vec::new();
    rest.read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("hi\n"), "{said:?}");
    daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    daemon.end();
}

pub fn a_stream_is_called_by_the_name_that_the_client_knows() {
    let daemon = Daemon::start();
    let id = daemon.container(&["true"]);
    for (version, name) in [("1.41", "raw"), ("1.42", "multiplexed"), ("1.51", "multiplexed")] {
        let logs = format!("/v{version}/containers/{id}/logs?stdout=1");
        let attach = format!("/v{version}/containers/{id}/attach?stdout=1");
        for stream in [
            daemon.send("GET", &logs, "", &Value::Null),
            daemon.send("POST", &attach, UPGRADE, &Value::Null),
        ] {
            let (_, head, _) = head(stream);
            assert!(head.contains(&format!("application/vnd.docker.{name}-stream")), "{head}");
        }
    }
    daemon.ask("DELETE", &format!("/containers/{id}?force=1"), Value::Null);
    daemon.end();
}
