//! The benchmark's programs. On the host there is nothing to run.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../../../heartbeat-ebpf/src/clock.rs"]
mod clock;
#[cfg(target_arch = "bpf")]
#[path = "../../../heartbeat-ebpf/src/frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
mod fresh;
#[cfg(target_arch = "bpf")]
mod generate;
#[cfg(target_arch = "bpf")]
mod hold;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod payload;
#[cfg(target_arch = "bpf")]
mod steps;
#[cfg(target_arch = "bpf")]
#[path = "../../../heartbeat-ebpf/src/tables.rs"]
mod tables;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
