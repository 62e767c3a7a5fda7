//! The registry of a console: on 127.0.0.1:5000 of its own network, with `busybox` in it.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::{Needs, NetNs};

pub const NEEDS: [Needs; 4] = [
    Needs::Root,
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Program("busybox"),
];

/// Lives as long as the network does.
pub struct Registry(std::process::Child);

impl Registry {
    /// Starts it, and pushes the image.
    pub fn start(netns: &NetNs, folder: &Path) -> Registry {
        fs::create_dir(folder).expect("create a folder");
        let config = folder.join("config.yml");
        let store = folder.join("store");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:5000'}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n",
            store.display()
        );
        fs::write(&config, text).expect("write config.yml");
        let mut serve = netns.command("docker-registry");
        serve.arg("serve").arg(&config);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Registry(serve.spawn().expect("start docker-registry"));
        let layout = folder.join("layout");
        let layers = [testkit::tar_of(&testkit::busybox_rootfs())];
        let config = serde_json::json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] });
        testkit::oci_layout(&layout, &layers, config);
        let mut said = String::new();
        let pushed = testkit::wait_until(Duration::from_secs(10), || {
            let mut skopeo = netns.command("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
            skopeo.arg(format!("oci:{}:latest", layout.display()));
            let output = skopeo.arg("docker://127.0.0.1:5000/busybox").output();
            let output = output.expect("run skopeo");
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success()
        });
        assert!(pushed, "push busybox to the registry: {said}");
        server
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
