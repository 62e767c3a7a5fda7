//! Containers for the tests.

pub mod exec;
pub mod life;
pub mod probe;
pub mod security;
pub mod user;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::runtime::seccomp::docker_default;
use crate::runtime::shim::{self, Answer, Attach, Shim};
use crate::runtime::{AutoRemove, DEFAULT_CAPABILITIES, Instructions, default_spec};
use crate::store::{ContainerDir, Names, Record, Root, State, write};

/// A store of its own with one container in it.
pub struct Fixture {
    pub root: tempfile::TempDir,
    pub dir: ContainerDir,
    pub spec: Value,
    pub instructions: Instructions,
}

impl Fixture {
    /// A container that runs a shell command on busybox.
    pub fn new(command: &str) -> Self {
        let root = testkit::temp_dir();
        let id = format!("{:x}", std::process::id() as u64 * 1000 + next());
        let store = Root::open(Some(root.path())).unwrap();
        let dir = store.container(&id);
        dir.create().unwrap();
        let mut spec = serde_json::to_value(default_spec()).unwrap();
        spec["linux"]["seccomp"] =
            json!(docker_default(&DEFAULT_CAPABILITIES.into_iter().collect()));
        spec["process"]["args"] = json!(["sh", "-c", command]);
        spec["linux"]["cgroupsPath"] = json!(format!("/coracle-test-shim/{id}"));
        let layers = vec![testkit::busybox_rootfs()];
        let instructions = Instructions { layers, ..Instructions::default() };
        Self { root, dir, spec, instructions }
    }

    /// With this program inside, as `/probe`.
    pub fn with_probe(mut self) -> Self {
        let own = std::env::current_exe().unwrap();
        let mount = json!({ "destination": "/probe", "type": "bind", "source": own,
            "options": ["rbind", "ro"] });
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// Writes what the engine writes, and launches.
    pub fn launch(&self) -> namespaces::Result<Shim> {
        std::fs::write(self.dir.config(), self.spec.to_string()).unwrap();
        write(&self.dir.instructions(), &self.instructions, false).unwrap();
        shim::launch(&self.dir, shim::Until::Created, &[])?;
        Shim::connect(&self.dir)
    }

    /// Launches, attaches, starts, and reads until the end.
    pub fn run(&self) -> Ended {
        let mut shim = self.launch().unwrap();
        // Before the start, or the end could come first.
        let stream = self.attach(false);
        let mut end = BufReader::new(self.connect().watch().unwrap());
        shim.start().unwrap();
        let (stdout, stderr) = frames(stream);
        let mut line = String::new();
        end.read_line(&mut line).unwrap();
        let Answer::State(state) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!(end.read_line(&mut line).unwrap(), 0, "more than one line: {line}");
        Ended { stdout, stderr, state }
    }

    pub fn connect(&self) -> Shim {
        Shim::connect(&self.dir).unwrap()
    }

    pub fn attach(&self, stdin: bool) -> UnixStream {
        self.connect().attach(Attach { stdin, stdout: true, stderr: true }).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Ok(mut shim) = Shim::connect(&self.dir) {
            let _ = shim.kill(9);
            let _ = shim.wait();
            let _ = shim.wait_until_gone();
        }
    }
}

/// What came of a container.
#[derive(Debug)]
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    pub state: State,
}

/// Takes Docker's frames apart: standard output, standard error.
pub fn frames(mut stream: UnixStream) -> (String, String) {
    let mut all = [Vec::new(), Vec::new()];
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes(header[4..].try_into().unwrap());
        let mut bytes = vec![0; length as usize];
        stream.read_exact(&mut bytes).unwrap();
        all[usize::from(header[0]) - 1].extend(bytes);
    }
    let [stdout, stderr] = all.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (stdout, stderr)
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
