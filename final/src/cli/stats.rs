//! `stats`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bollard_stubs::models::ContainerSummary;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::format::{Format, short};
use super::human::size;
use super::out;
use crate::client::{Client, encode};

/// `stats`
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Show all containers, not only those that run.
    #[arg(short, long)]
    all: bool,
    /// Print through a template such as '{{.Name}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look once.
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten.
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids, or unambiguous beginnings of ids; those that run, where none is given.
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

const COLUMNS: [&str; 8] =
    ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

/// How often the table is drawn.
const DRAWN: Duration = Duration::from_millis(500);

/// How often it is looked for containers that have come.
const SOUGHT: u32 = 2;

fn header(column: &str) -> String {
    match column {
        "ID" => "CONTAINER ID".into(),
        "Container" => "CONTAINER".into(),
        "CPUPerc" => "CPU %".into(),
        "MemUsage" => "MEM USAGE / LIMIT".into(),
        "MemPerc" => "MEM %".into(),
        "NetIO" => "NET I/O".into(),
        "BlockIO" => "BLOCK I/O".into(),
        other => other.to_uppercase(),
    }
}

/// `coracle stats`
pub async fn stats(client: &Client, args: StatsArgs) -> Result<ExitCode> {
    let format = Format::new(args.format.as_deref(), false, &COLUMNS)?;
    if args.no_stream {
        let mut asked = Vec::new();
        for name in names(client, &args).await? {
            let client = client.clone();
            asked.push(tokio::spawn(async move {
                let path = format!("/containers/{}/stats?stream=0", encode(&name));
                client.get::<Value>(&path).await.map(|stats| (name, stats))
            }));
        }
        let mut rows = Vec::new();
        for task in asked {
            let (name, stats) = task.await??;
            rows.push(row(&name, Some(&stats), args.no_trunc));
        }
        format.print(rows, header)?;
        return Ok(ExitCode::SUCCESS);
    }
    live(client, &args, &format).await
}

/// The table, drawn again and again, until nobody looks any more.
async fn live(client: &Client, args: &StatsArgs, format: &Format) -> Result<ExitCode> {
    let (sender, mut receiver) = mpsc::channel::<(String, Option<Value>)>(64);
    // In the order in which they have come.
    let mut shown: BTreeMap<(usize, String), Option<Value>> = BTreeMap::new();
    let mut count = 0;
    let mut clock = tokio::time::interval(DRAWN);
    for drawn in 0_u32.. {
        if drawn == 0 || args.names.is_empty() && drawn % SOUGHT == 0 {
            for name in names(client, args).await? {
                if shown.keys().any(|(_, known)| *known == name) {
                    continue;
                }
                if !args.names.is_empty() {
                    // Who asks for what is not there shall know.
                    client.get::<Value>(&format!("/containers/{}/json", encode(&name))).await?;
                }
                shown.insert((count, name.clone()), None);
                count += 1;
                tokio::spawn(follow(client.clone(), name, sender.clone()));
            }
        }
        clock.tick().await;
        // The first drawing waits for what there is to draw.
        while let Some((name, stats)) = next(&mut receiver, drawn == 0 && missing(&shown)).await {
            let Some(key) = shown.keys().find(|(_, known)| *known == name).cloned() else {
                continue;
            };
            match stats {
                Some(stats) => drop(shown.insert(key, Some(stats))),
                None => drop(shown.remove(&key)),
            }
        }
        if shown.is_empty() && !args.names.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let rows = shown.iter().map(|((_, name), stats)| row(name, stats.as_ref(), args.no_trunc));
        // From the top left corner, each line and then the screen cleared behind it.
        let text = format.text(rows, header)?.replace('\n', "\x1b[K\n");
        out::text(format!("\x1b[H{text}\x1b[J"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn missing(shown: &BTreeMap<(usize, String), Option<Value>>) -> bool {
    shown.values().any(Option::is_none)
}

/// What has come; waited for only for a while, if at all.
async fn next(
    receiver: &mut mpsc::Receiver<(String, Option<Value>)>,
    wait: bool,
) -> Option<(String, Option<Value>)> {
    match wait {
        true => tokio::time::timeout(4 * DRAWN, receiver.recv()).await.ok().flatten(),
        false => receiver.try_recv().ok(),
    }
}

/// Passes on what the engine tells of a container, and that it has gone.
async fn follow(client: Client, name: String, sender: mpsc::Sender<(String, Option<Value>)>) {
    let path = format!("/containers/{}/stats?stream=1", encode(&name));
    if let Ok(response) = client.send(Method::GET, &path, None).await {
        let mut body = response.into_body();
        let mut line = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            line.extend_from_slice(&data);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let rest = line.split_off(end + 1);
                let stats = serde_json::from_slice(&std::mem::replace(&mut line, rest)).ok();
                if stats.is_some() && sender.send((name.clone(), stats)).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = sender.send((name, None)).await;
}

/// Which containers are shown.
async fn names(client: &Client, args: &StatsArgs) -> Result<Vec<String>> {
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    let path = format!("/containers/json?all={}", args.all);
    let all: Vec<ContainerSummary> = client.get(&path).await?;
    Ok(all.into_iter().filter_map(|container| container.id).collect())
}

/// One container, as the fields that Docker's templates know.
fn row(name: &str, stats: Option<&Value>, no_trunc: bool) -> Value {
    let Some(stats) = stats else {
        return json!({
            "Container": name, "Name": "--", "ID": "", "CPUPerc": "--", "MemUsage": "-- / --",
            "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        });
    };
    let number = |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let (memory, limit) = (used_memory(stats), number("/memory_stats/limit"));
    let percent = if limit > 0.0 { memory / limit * 100.0 } else { 0.0 };
    let sum = |field: &str| {
        let networks = stats["networks"].as_object().into_iter().flatten();
        networks.filter_map(|(_, counts)| counts[field].as_f64()).sum::<f64>()
    };
    let moved = |operation: &str| {
        let entries = stats["blkio_stats"]["io_service_bytes_recursive"].as_array();
        let entries = entries.into_iter().flatten();
        let these = entries.filter(|entry| {
            entry["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case(operation))
        });
        these.filter_map(|entry| entry["value"].as_f64()).sum::<f64>()
    };
    let both = |one: f64, other: f64| format!("{} / {}", size(one as i64), size(other as i64));
    let id = stats["id"].as_str().unwrap_or_default();
    json!({
        "Container": name,
        "Name": stats["name"].as_str().unwrap_or_default().trim_start_matches('/'),
        "ID": if no_trunc { id } else { short(id) },
        "CPUPerc": format!("{:.2}%", cpu_percent(stats)),
        "MemUsage": format!("{} / {}", binary(memory), binary(limit)),
        "MemPerc": format!("{percent:.2}%"),
        "NetIO": both(sum("rx_bytes"), sum("tx_bytes")),
        "BlockIO": both(moved("read"), moved("write")),
        "PIDs": (number("/pids_stats/current") as u64).to_string(),
    })
}

/// The share of the machine's time that it took between two looks: 100 % is one processor.
fn cpu_percent(stats: &Value) -> f64 {
    let number = |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let used =
        number("/cpu_stats/cpu_usage/total_usage") - number("/precpu_stats/cpu_usage/total_usage");
    let system = number("/cpu_stats/system_cpu_usage") - number("/precpu_stats/system_cpu_usage");
    match used > 0.0 && system > 0.0 {
        true => used / system * number("/cpu_stats/online_cpus") * 100.0,
        false => 0.0,
    }
}

/// Without the cache that costs nothing to give up.
fn used_memory(stats: &Value) -> f64 {
    let memory = &stats["memory_stats"];
    let usage = memory["usage"].as_f64().unwrap_or(0.0);
    let inactive = memory["stats"]["total_inactive_file"].as_f64();
    let inactive = inactive.or(memory["stats"]["inactive_file"].as_f64()).unwrap_or(0.0);
    if inactive < usage { usage - inactive } else { usage }
}

/// A size in powers of 1024 with four digits: `1.5MiB`, `23.54GiB`.
fn binary(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let whole = (value.log10().floor().max(0.0)) as usize + 1;
    let text = format!("{value:.*}", 4_usize.saturating_sub(whole));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits() {
        let told: Vec<_> =
            [0.0, 614_400.0, 25_276_510_208.0, 1_572_864.0, 1023.0].map(binary).into();
        assert_eq!(told, ["0B", "600KiB", "23.54GiB", "1.5MiB", "1023B"]);
    }

    #[test]
    fn shares_are_of_one_processor() {
        let stats = json!({
            "cpu_stats": { "cpu_usage": { "total_usage": 300 }, "system_cpu_usage": 2000, "online_cpus": 2 },
            "precpu_stats": { "cpu_usage": { "total_usage": 100 }, "system_cpu_usage": 1000 },
            "memory_stats": { "usage": 3_145_728, "limit": 6_291_456, "stats": { "inactive_file": 1_048_576 } },
            "networks": { "eth0": { "rx_bytes": 1040, "tx_bytes": 0 } },
        });
        let row = row("x", Some(&stats), false);
        assert_eq!(row["CPUPerc"], "40.00%");
        assert_eq!((&row["MemUsage"], &row["MemPerc"]), (&json!("2MiB / 6MiB"), &json!("33.33%")));
        assert_eq!(row["NetIO"], "1.04kB / 0B");
    }
}
