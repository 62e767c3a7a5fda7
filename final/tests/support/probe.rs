//! A program that makes system calls and says what the kernel answers.

use std::ffi::OsString;
use std::process::ExitCode;

/// `probe-write`: tries to open the program that this process is for writing. With
/// O_TRUNC, for which the kernel looks at the mount before it says that the file is busy.
pub fn write() -> ExitCode {
    match std::fs::File::options().write(true).truncate(true).open("/proc/self/exe") {
        Ok(_) => println!("it can be written to"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

/// `probe NUMBER…`: makes each call with zeroes, and prints its errno on a line.
#[allow(unsafe_code)]
pub fn main(numbers: &[OsString]) -> ExitCode {
    for number in numbers {
        let number = number.to_str().and_then(|number| number.parse::<i64>().ok()).unwrap_or(-1);
        // SAFETY: these calls are refused, or do nothing with zeroes.
        let answer = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        println!("{}", if answer == -1 { errno } else { 0 });
    }
    ExitCode::SUCCESS
}
