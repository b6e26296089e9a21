//! How far the verifier had to walk: the kernel tells it of each program to whoever holds the program.

use std::{collections::BTreeSet, fs};

use nix::unistd::Pid;

/// Number of XDP among the kernel's types of programs.
const XDP: &str = "6";

/// Instructions that the verifier walked through, for each XDP program that a process holds.
///
/// Empty where the kernel does not say, which those before 5.16 do not.
#[must_use]
pub fn verified_instructions(process: Pid) -> BTreeSet<u64> {
    let directory = format!("/proc/{process}/fdinfo");
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.filter_map(|text| of_program(&text)).collect()
}

fn of_program(text: &str) -> Option<u64> {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    };
    if field("prog_type")? != XDP {
        return None;
    }
    field("verified_insns")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_and_other_handles_are_passed_over() {
        let text = "pos:\t0\nprog_type:\t6\nprog_jited:\t1\nprog_tag:\tf00d\nverified_insns:\t1234\n";
        assert_eq!(of_program(text), Some(1234));
        assert_eq!(of_program(&text.replace("\t6", "\t5")), None);
        assert_eq!(of_program("pos:\t0\nmap_type:\t2\n"), None);
    }
}
