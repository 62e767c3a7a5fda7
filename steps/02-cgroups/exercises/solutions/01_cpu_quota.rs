//! Translate `--cpus` for both versions of cgroups.
//!
//! `--cpus 0.5` is a wish. The kernel hears it as microseconds: so many in every period of
//! so many. Version 2 has one file for both numbers, `cpu.max`, with the quota first and
//! the word `max` for "no limit"; version 1 has two files, `cpu.cfs_period_us` and
//! `cpu.cfs_quota_us`, with -1 for "no limit". The wish comes in billionths of a
//! processor, as Docker's API has it. The period is always 100 milliseconds.
//!
//! Minutes: 10

/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;

/// Microseconds in each period; `None` for no limit.
fn quota(nano_cpus: Option<u64>) -> Option<u64> {
    // YOURS: compute the quota
    // First multiply, then divide: half a processor would be 0 the other way round.
    nano_cpus.map(|nano| nano * PERIOD / 1_000_000_000)
    // END
}

/// What is written to `cpu.max`.
fn v2(nano_cpus: Option<u64>) -> String {
    // YOURS: the one line of version 2
    match quota(nano_cpus) {
        Some(quota) => format!("{quota} {PERIOD}"),
        None => format!("max {PERIOD}"),
    }
    // END
}

/// What is written to which file of version 1, in this order.
fn v1(nano_cpus: Option<u64>) -> [(&'static str, String); 2] {
    // YOURS: the two files of version 1, the period first
    // The period first: a quota is checked against the period that is there.
    let quota = quota(nano_cpus).map_or(-1, |quota| quota as i64);
    [("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())]
    // END
}

fn main() {
    for nano_cpus in [Some(500_000_000), Some(2_000_000_000), Some(10_000_000), None] {
        let told = match nano_cpus {
            Some(nano) => format!("--cpus {}", nano as f64 / 1e9),
            None => "no limit".into(),
        };
        println!("{told}: cpu.max = {}", v2(nano_cpus));
        for (file, value) in v1(nano_cpus) {
            println!("{told}: {file} = {value}");
        }
    }
}
