//! Nodes in virtual machines: the same program on other kernels, and machines that stop as a whole.
//!
//! On this machine [`command`] prepares kernels ([`kernel`], [`packages`]) and a file system in memory ([`image`],
//! [`modules`]), and starts QEMU ([`machine`], [`qmp`]), which emulates: no KVM, no privilege. Inside, [`guest`] is process 1. What it finds
//! comes back over a serial port, one line of JSON for each thing ([`report`]).

pub mod command;
pub mod console;
pub mod docs;
pub mod faults;
pub mod guest;
pub mod image;
pub mod kernel;
pub mod kernels;
pub mod machine;
pub mod modules;
pub mod packages;
pub mod qmp;
pub mod report;
pub mod workplace;
