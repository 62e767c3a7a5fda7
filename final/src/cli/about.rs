//! `version`, `info`.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value as Json, json};

use super::{format, out};
use crate::api::API_VERSION;
use crate::client::Client;
use crate::shape;

/// `version`, `info`
#[derive(Debug, Args)]
pub struct AboutArgs {
    /// Print through a template such as '{{.Server.Version}}', or as json.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// `coracle version`
pub async fn version(client: &Client, args: AboutArgs) -> Result<ExitCode> {
    let server: Json = client.get("/version").await?;
    let here = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "Os": "linux",
        "Arch": images::Platform::host().architecture,
        "Context": "default",
    });
    let versions = json!({ "Client": here, "Server": server });
    match args.format.as_deref().filter(|format| !format.is_empty()) {
        Some(format) => format::object(format, &shape::value("Versions", &versions))?,
        None => out::text(versions_for_people(&versions))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(object: &'a Json, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

fn versions_for_people(versions: &Json) -> String {
    let (client, server) = (&versions["Client"], &versions["Server"]);
    let mut out = String::from("Client:\n");
    let mut line = |indent: usize, name: &str, value: String| {
        if !value.is_empty() {
            let name = format!("{name}:");
            let _ = writeln!(out, "{:indent$}{name:<width$}{value}", "", width = 20 - indent);
        }
    };
    let platform = |of: &Json| format!("{}/{}", text(of, "Os"), text(of, "Arch"));
    line(1, "Version", text(client, "Version").into());
    line(1, "API version", text(client, "ApiVersion").into());
    line(1, "OS/Arch", platform(client));
    line(1, "Context", text(client, "Context").into());
    out.push_str("\nServer:\n Engine:\n");
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let name = format!("{name}:");
            let _ = writeln!(out, "  {name:<18}{value}");
        }
    };
    let least = text(server, "MinAPIVersion");
    line("Version", text(server, "Version").into());
    line("API version", format!("{} (minimum version {least})", text(server, "ApiVersion")));
    line("Git commit", text(server, "GitCommit").into());
    line("Built", text(server, "BuildTime").into());
    line("OS/Arch", platform(server));
    line("Kernel", text(server, "KernelVersion").into());
    for component in server["Components"].as_array().into_iter().flatten() {
        let name = text(component, "Name");
        if name != "Engine" {
            let _ = writeln!(out, " {name}:\n  {:<18}{}", "Version:", text(component, "Version"));
        }
    }
    out
}

/// `coracle info`
pub async fn info(client: &Client, args: AboutArgs) -> Result<ExitCode> {
    let mut info: Json = client.get("/info").await?;
    info["ClientInfo"] = json!({
        "Debug": false,
        "Version": env!("CARGO_PKG_VERSION"),
        "Context": "default",
        "Plugins": [],
        "Warnings": Json::Null,
    });
    match args.format.as_deref().filter(|format| !format.is_empty()) {
        Some(format) => format::object(format, &shape::value("Info", &info))?,
        None => out::text(info_for_people(&info))?,
    }
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        out::tell(warning);
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of `info`: what the engine says, and nothing that it does not say.
fn info_for_people(info: &Json) -> String {
    let mut out = format!(
        "Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut line = |indent: usize, name: &str, value: &Json| {
        let value = match value {
            Json::Null => return,
            Json::String(text) if text.is_empty() => return,
            Json::String(text) => text.clone(),
            Json::Array(words) => {
                words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        let _ = writeln!(out, "{:indent$}{name}: {value}", "");
    };
    line(1, "Containers", &info["Containers"]);
    line(2, "Running", &info["ContainersRunning"]);
    line(2, "Paused", &info["ContainersPaused"]);
    line(2, "Stopped", &info["ContainersStopped"]);
    line(1, "Images", &info["Images"]);
    line(1, "Server Version", &info["ServerVersion"]);
    line(1, "Storage Driver", &info["Driver"]);
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        line(2, pair[0].as_str().unwrap_or_default(), &pair[1]);
    }
    line(1, "Logging Driver", &info["LoggingDriver"]);
    line(1, "Cgroup Driver", &info["CgroupDriver"]);
    line(1, "Cgroup Version", &info["CgroupVersion"]);
    if info["Plugins"].is_object() {
        line(1, "Plugins", &json!(" "));
        for kind in ["Volume", "Network", "Log"] {
            line(2, kind, &info["Plugins"][kind]);
        }
    }
    line(1, "Swarm", &info["Swarm"]["LocalNodeState"]);
    let runtimes = info["Runtimes"].as_object();
    line(1, "Runtimes", &json!(runtimes.map(|all| all.keys().collect::<Vec<_>>())));
    line(1, "Default Runtime", &info["DefaultRuntime"]);
    line(1, "Init Binary", &info["InitBinary"]);
    let options = info["SecurityOptions"].as_array().filter(|options| !options.is_empty());
    if let Some(options) = options {
        line(1, "Security Options", &json!(" "));
        for option in options.iter().filter_map(Json::as_str) {
            security_option(option, &mut line);
        }
    }
    line(1, "Kernel Version", &info["KernelVersion"]);
    line(1, "Operating System", &info["OperatingSystem"]);
    line(1, "OSType", &info["OSType"]);
    line(1, "Architecture", &info["Architecture"]);
    line(1, "CPUs", &info["NCPU"]);
    let memory = info["MemTotal"].as_f64().filter(|bytes| *bytes > 0.0);
    let memory = memory.map(|bytes| format!("{:.4}GiB", bytes / f64::from(1 << 30)));
    line(1, "Total Memory", &json!(memory.map(|text| four_digits(&text))));
    line(1, "Name", &info["Name"]);
    line(1, "ID", &info["ID"]);
    line(1, "Docker Root Dir", &info["DockerRootDir"]);
    line(1, "Debug Mode", &info["Debug"]);
    line(1, "Experimental", &info["ExperimentalBuild"]);
    line(1, "Live Restore Enabled", &info["LiveRestoreEnabled"]);
    out.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `name=seccomp,profile=default`: a name, and more of it below.
fn security_option(option: &str, line: &mut impl FnMut(usize, &str, &Json)) {
    let mut name = String::new();
    for pair in option.split(',') {
        match pair.split_once('=') {
            Some(("name", value)) => name = value.to_owned(),
            Some(("profile", profile)) => name = format!("{name} (profile: {profile})"),
            _ => name = if name.is_empty() { pair.to_owned() } else { format!("{name}, {pair}") },
        }
    }
    line(2, &name, &json!(" "));
}

/// `23.5421GiB` is `23.54GiB`.
fn four_digits(text: &str) -> String {
    let end = text.find(char::is_alphabetic).unwrap_or(text.len());
    let digits: String = text[..end].chars().take(5).collect();
    format!("{}{}", digits.trim_end_matches('.'), &text[end..])
}
