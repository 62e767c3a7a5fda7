//! The flags of this lesson, with Docker's names and meanings.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use namespaces::{Context, Error, Result};

use crate::devices::{DevicePolicy, DeviceRule};
use crate::limits::{Limits, Rate};
use crate::size;

/// What the container may use at most.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Memory limit, page cache included: 64m, 1.5g
    #[arg(short, long, value_name = "BYTES", value_parser = size::bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,

    /// Limit of memory and swap together; -1 for no limit on swap [default: twice the memory]
    #[arg(long, value_name = "BYTES", value_parser = size::bytes_or_unlimited, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,

    /// Memory that is spared as long as there is enough elsewhere
    #[arg(long, value_name = "BYTES", value_parser = size::bytes, allow_negative_numbers = true)]
    pub memory_reservation: Option<u64>,

    /// How readily to swap, 0 to 100 (cgroup v1 only)
    #[arg(long, value_name = "0..100", allow_hyphen_values = true)]
    pub memory_swappiness: Option<i64>,

    /// Let processes wait for memory instead of killing them (cgroup v1 only)
    #[arg(long)]
    pub oom_kill_disable: bool,

    /// Processors: 0.5, 2
    #[arg(long, value_name = "NUMBER", value_parser = size::nano_cpus, allow_negative_numbers = true)]
    pub cpus: Option<u64>,

    /// Period of the processor quota, in microseconds [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_period: Option<u64>,

    /// Processor time per period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,

    /// Share of the processors when they are short; usual is 1024
    #[arg(short, long, value_name = "SHARES", allow_negative_numbers = true)]
    pub cpu_shares: Option<u64>,

    /// Processors to run on: 0-2,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes to use: 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// Most processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

    /// Share of the disks when they are busy, 10 to 1000
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    pub blkio_weight: Option<u16>,

    /// Most bytes a second to read from a device: /dev/sda:10mb
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<DeviceRate<true>>,

    /// Most bytes a second to write to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<DeviceRate<true>>,

    /// Most reads a second from a device: /dev/sda:100
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<DeviceRate<false>>,

    /// Most writes a second to a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<DeviceRate<false>>,

    /// One more permission: "c 10:200 rwm"
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<DeviceRule>,

    /// The cgroup to make the container's cgroup in
    #[arg(long, value_name = "PATH", default_value = "coracle")]
    pub cgroup_parent: String,
}

impl LimitArgs {
    /// The limits, devices looked up.
    ///
    /// # Errors
    /// A device that is not there, or is no block device.
    pub fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            oom_kill_disable: self.oom_kill_disable,
            memory_swappiness: self.memory_swappiness.filter(|swappiness| *swappiness != -1),
            cpus: self.cpus,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
            device_read_bps: look_up(&self.device_read_bps)?,
            device_write_bps: look_up(&self.device_write_bps)?,
            device_read_iops: look_up(&self.device_read_iops)?,
            device_write_iops: look_up(&self.device_write_iops)?,
        })
    }

    /// The devices: Docker's default ones, and those of the rules.
    pub fn devices(&self) -> DevicePolicy {
        DevicePolicy::Default(self.device_cgroup_rule.clone())
    }
}

/// A device by its path, and how fast it may be used: in bytes or in operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRate<const BYTES: bool> {
    /// The device's node on the host.
    pub path: PathBuf,
    /// Bytes or operations per second.
    pub rate: u64,
}

impl<const BYTES: bool> FromStr for DeviceRate<BYTES> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = if BYTES { "/dev/sda:10mb" } else { "/dev/sda:100" };
        let wrong = || {
            Error::new(format!("{text:?} is no rate of a device"))
                .hint(format!("write it like {form}"))
        };
        let (path, rate) = text.rsplit_once(':').ok_or_else(wrong)?;
        let rate = if BYTES { size::bytes(rate)? } else { rate.parse().map_err(|_| wrong())? };
        Ok(Self { path: path.into(), rate })
    }
}

fn look_up<const BYTES: bool>(rates: &[DeviceRate<BYTES>]) -> Result<Vec<Rate>> {
    rates.iter().map(DeviceRate::look_up).collect()
}

impl<const BYTES: bool> DeviceRate<BYTES> {
    /// Where the path leads: the kernel knows devices by number.
    fn look_up(&self) -> Result<Rate> {
        let metadata =
            self.path.metadata().doing(|| format!("look up the device {}", self.path.display()))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::new(format!("{} is no block device", self.path.display())));
        }
        let number = metadata.rdev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        Ok(Rate { major, minor, rate: self.rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(line: &str) -> Result<Limits, String> {
        let command = Command::try_parse_from(std::iter::once("x").chain(line.split(' ')))
            .map_err(|error| error.to_string())?;
        command.limits.limits().map_err(|error| error.to_string())
    }

    #[test]
    fn flags_mean_what_they_mean_to_docker() {
        let expected = Limits {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            cpus: Some(1_500_000_000),
            pids: Some(50),
            cpu_shares: Some(512),
            ..Limits::default()
        };
        let line = "-m 64m --memory-swap -1 --cpus 1.5 --pids-limit 50 -c 512";
        assert_eq!(limits(line), Ok(expected));
        assert_eq!(limits("--memory-swappiness -1"), Ok(Limits::default()));
    }

    #[test]
    fn wrong_values_are_told_with_their_flag() {
        let first_line = |line: &str| {
            let error = limits(line).expect_err("it is wrong");
            error.lines().next().unwrap_or_default().to_string()
        };
        insta::assert_snapshot!(first_line("-m lots"), @r#"error: invalid value 'lots' for '--memory <BYTES>': "lots" is not a size: write a number and a unit, one of b, k, m, g, t: 64m"#);
        insta::assert_snapshot!(first_line("-m -1"), @r#"error: invalid value '-1' for '--memory <BYTES>': "-1" is not a size: write a number and a unit, one of b, k, m, g, t: 64m"#);
        insta::assert_snapshot!(first_line("--cpus -0.5"), @r#"error: invalid value '-0.5' for '--cpus <NUMBER>': "-0.5" is not a number of processors: 0.5, 2"#);
        insta::assert_snapshot!(first_line("-c -1"), @"error: invalid value '-1' for '--cpu-shares <SHARES>': invalid digit found in string");
        insta::assert_snapshot!(first_line("--cpus 1.0000000001"), @r#"error: invalid value '1.0000000001' for '--cpus <NUMBER>': "1.0000000001" is too precise: a processor is divided into billionths, nine decimals"#);
        insta::assert_snapshot!(first_line("--device-read-bps /dev/null:1mb"), @"/dev/null is no block device");
        insta::assert_snapshot!(first_line("--device-read-bps /dev/sda"), @r#"error: invalid value '/dev/sda' for '--device-read-bps <DEVICE:BYTES>': "/dev/sda" is no rate of a device: write it like /dev/sda:10mb"#);
        insta::assert_snapshot!(first_line("--device-read-iops /dev/nothing:7"), @"look up the device /dev/nothing: No such file or directory");
    }
}
