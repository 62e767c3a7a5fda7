//! Names for containers that were given none: a vessel's mood and a water's name.

use crate::engine::error::{Error, Result};

const MOODS: [&str; 48] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever",
    "cosy", "curious", "deft", "eager", "fair", "fleet", "fond", "gentle", "glad", "golden",
    "grand", "handy", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "light",
    "lively", "lucky", "mellow", "merry", "nimble", "noble", "patient", "placid", "plucky",
    "proud", "quiet", "ready", "silver", "steady", "sturdy", "swift", "trusty", "wry",
];

const WATERS: [&str; 48] = [
    "aare",
    "avon",
    "boyne",
    "brahmaputra",
    "cam",
    "clyde",
    "colorado",
    "congo",
    "danube",
    "dee",
    "dnieper",
    "dordogne",
    "douro",
    "ebro",
    "elbe",
    "euphrates",
    "ganges",
    "garonne",
    "huanghe",
    "indus",
    "inn",
    "jordan",
    "lena",
    "loire",
    "mekong",
    "moselle",
    "neva",
    "niger",
    "nile",
    "oder",
    "orinoco",
    "po",
    "rhine",
    "rhone",
    "seine",
    "severn",
    "shannon",
    "spree",
    "tay",
    "teifi",
    "thames",
    "tiber",
    "tigris",
    "tweed",
    "volga",
    "wye",
    "yangtze",
    "zambezi",
];

/// A name made of random bits: `steady_teifi`.
pub fn random(bits: u64) -> String {
    let mood = MOODS[bits as usize % MOODS.len()];
    let water = WATERS[(bits >> 16) as usize % WATERS.len()];
    format!("{mood}_{water}")
}

/// Docker's rule for names.
pub fn check(name: &str) -> Result<()> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if first && name.len() > 1 && characters.all(rest) {
        return Ok(());
    }
    Err(Error::bad_parameter(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// The refusal of a name that another container has.
pub fn taken(name: &str, by: &str) -> Error {
    Error::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// Random bytes of the kernel, in hexadecimal.
pub fn random_hex(bytes: usize) -> Result<String> {
    use std::io::Read;
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_name_is_a_valid_one() {
        for bits in (0..u64::MAX).step_by(usize::MAX / 1000) {
            check(&random(bits)).unwrap();
        }
    }

    #[test]
    fn names_follow_dockers_rule() {
        for bad in ["", "a", "-a", "a b", "a/b", "ä1", ".x"] {
            assert!(check(bad).is_err(), "{bad} was accepted");
        }
    }
}
