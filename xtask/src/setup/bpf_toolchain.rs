//! The choice between the two ways to compile heartbeat-ebpf.
//!
//! Nightly with `rust-src` is what most developers have; the distribution's compiler brings a precompiled `core` for
//! BPF and so needs nothing from rustup's servers. Either one also needs a bpf-linker that can read its bitcode.

use super::{
    requirement::{Requirement, State},
    step::Step,
};
use crate::toolchain::{
    BPF_LINKER_VERSION, COMPILER_PACKAGES, DISTRIBUTION_TOOLCHAIN, LINKER_PACKAGES, LLVM_MAJOR, NIGHTLY_TOOLCHAIN,
};

const NAME: &str = "BPF toolchain";

/// What the choice depends on; a trait, so that every combination has a test.
pub(super) trait Machine {
    /// Version of the bpf-linker in PATH, if one starts.
    fn linker_version(&self) -> Option<String>;
    /// LLVM of the nightly compiler, if it is there with the source of `core`.
    fn nightly_llvm(&self) -> Option<u32>;
    /// Whether rustup knows the distribution's compiler and it starts.
    fn has_distribution_toolchain(&self) -> bool;
    /// Compiles and links a small program with this toolchain.
    fn try_to_build(&self, toolchain: &str) -> anyhow::Result<()>;
    /// The compiler's name and version, for people.
    fn describe(&self, toolchain: &str) -> String;
}

/// Nightly where it works, else the distribution's compiler, else what has to be done for the nearer of the two.
pub(super) fn requirement(machine: &impl Machine) -> Requirement {
    let linker = machine.linker_version();
    let nightly_llvm = machine.nightly_llvm().filter(|llvm| *llvm <= LLVM_MAJOR);
    let mut tried = Vec::new();

    if nightly_llvm.is_some() {
        match attempt(machine, NIGHTLY_TOOLCHAIN, linker.as_deref()) {
            Attempt::Works(ready) => return ready,
            Attempt::NeedsLinker(why) => return missing_linker(why),
            Attempt::Broken(why) => tried.push(why),
        }
    }
    if machine.has_distribution_toolchain() {
        match attempt(machine, DISTRIBUTION_TOOLCHAIN, linker.as_deref()) {
            Attempt::Works(ready) => return ready,
            Attempt::NeedsLinker(why) => return missing_linker(why),
            Attempt::Broken(why) => tried.push(why),
        }
    } else {
        tried.push(format!(
            "neither nightly with rust-src (LLVM {LLVM_MAJOR} at most) nor toolchain `{DISTRIBUTION_TOOLCHAIN}`"
        ));
    }

    let mut steps = vec![Step::Packages(&COMPILER_PACKAGES)];
    // A linker that is there was found wanting above, unless no compiler was there to try it with.
    let linker_is_new_enough = linker.as_deref() == Some(BPF_LINKER_VERSION);
    if !linker_is_new_enough || machine.has_distribution_toolchain() {
        steps.extend([Step::Packages(&LINKER_PACKAGES), Step::BuildLinker]);
    }
    steps.push(Step::LinkToolchain);
    Requirement::missing(NAME, tried.join("; "), steps)
}

enum Attempt {
    Works(Requirement),
    /// The compiler may well be good: there is no linker, or not the one that is known to go with it.
    NeedsLinker(String),
    Broken(String),
}

fn attempt(machine: &impl Machine, toolchain: &str, linker: Option<&str>) -> Attempt {
    let Some(linker) = linker else {
        return Attempt::NeedsLinker(format!("{} is there, bpf-linker is not", machine.describe(toolchain)));
    };
    match machine.try_to_build(toolchain) {
        Ok(()) => Attempt::Works(Requirement {
            name: NAME,
            state: State::Ready {
                detail: format!("{}, bpf-linker {linker}", machine.describe(toolchain)),
                toolchain: Some(toolchain.to_owned()),
            },
        }),
        Err(error) if linker != BPF_LINKER_VERSION => {
            Attempt::NeedsLinker(format!("bpf-linker {linker} does not work with `{toolchain}`: {error:#}"))
        }
        Err(error) => Attempt::Broken(format!("`{toolchain}` does not work: {error:#}")),
    }
}

fn missing_linker(why: String) -> Requirement {
    Requirement::missing(NAME, why, vec![Step::Packages(&LINKER_PACKAGES), Step::BuildLinker])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine described by what works on it.
    #[derive(Default)]
    struct Described {
        linker: Option<&'static str>,
        nightly: Option<u32>,
        distribution: bool,
        works: &'static [&'static str],
    }

    impl Machine for Described {
        fn linker_version(&self) -> Option<String> {
            self.linker.map(str::to_owned)
        }
        fn nightly_llvm(&self) -> Option<u32> {
            self.nightly
        }
        fn has_distribution_toolchain(&self) -> bool {
            self.distribution
        }
        fn try_to_build(&self, toolchain: &str) -> anyhow::Result<()> {
            anyhow::ensure!(self.works.contains(&toolchain), "it broke");
            Ok(())
        }
        fn describe(&self, toolchain: &str) -> String {
            toolchain.to_owned()
        }
    }

    fn chosen(machine: &Described) -> Option<String> {
        match requirement(machine).state {
            State::Ready { toolchain, .. } => toolchain,
            State::Missing { .. } => None,
        }
    }

    const LINKER_STEPS: [Step; 2] = [Step::Packages(&LINKER_PACKAGES), Step::BuildLinker];

    fn everything() -> Vec<Step> {
        let mut steps = vec![Step::Packages(&COMPILER_PACKAGES)];
        steps.extend(LINKER_STEPS);
        steps.push(Step::LinkToolchain);
        steps
    }

    #[test]
    fn a_bare_machine_needs_everything() {
        assert_eq!(requirement(&Described::default()).steps(), everything());
    }

    #[test]
    fn nightly_is_used_where_it_works() {
        let machine = Described {
            linker: Some(BPF_LINKER_VERSION),
            nightly: Some(LLVM_MAJOR),
            distribution: true,
            works: &["nightly", "bpf"],
        };
        assert_eq!(chosen(&machine).as_deref(), Some("nightly"));
    }

    #[test]
    fn the_distribution_steps_in_for_a_nightly_that_does_not_work() {
        let machine = Described {
            linker: Some(BPF_LINKER_VERSION),
            nightly: Some(LLVM_MAJOR),
            distribution: true,
            works: &["bpf"],
        };
        assert_eq!(chosen(&machine).as_deref(), Some("bpf"));
    }

    #[test]
    fn a_nightly_newer_than_the_linker_is_left_alone() {
        let machine =
            Described { linker: Some(BPF_LINKER_VERSION), nightly: Some(LLVM_MAJOR + 1), ..Described::default() };
        assert_eq!(requirement(&machine).steps(), [Step::Packages(&COMPILER_PACKAGES), Step::LinkToolchain]);
    }

    #[test]
    fn a_compiler_without_a_linker_needs_only_that() {
        for machine in [
            Described { nightly: Some(LLVM_MAJOR), ..Described::default() },
            Described { distribution: true, ..Described::default() },
        ] {
            assert_eq!(requirement(&machine).steps(), LINKER_STEPS);
        }
    }

    #[test]
    fn another_linker_is_used_if_it_works_and_replaced_if_not() {
        let mut machine =
            Described { linker: Some("0.99.0"), distribution: true, works: &["bpf"], ..Described::default() };
        assert_eq!(chosen(&machine).as_deref(), Some("bpf"));
        machine.works = &[];
        assert_eq!(requirement(&machine).steps(), LINKER_STEPS);
    }

    #[test]
    fn a_broken_pair_is_installed_anew() {
        let machine = Described { linker: Some(BPF_LINKER_VERSION), distribution: true, ..Described::default() };
        let requirement = requirement(&machine);
        assert_eq!(requirement.steps(), everything());
        assert!(requirement.to_string().contains("`bpf` does not work: it broke"), "{requirement}");
    }
}
