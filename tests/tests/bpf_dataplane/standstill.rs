//! A program that holds a processor: BPF_PROG_TEST_RUN runs it with softirqs off, and the judge's timer is a softirq.
//!
//! Written as instructions, because tests have no BPF compiler at hand. `bpf_loop` takes a callback, and a callback takes
//! BTF that says it is a static function.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

const COMMAND_PROGRAM_LOAD: libc::c_long = 5;
const COMMAND_TEST_RUN: libc::c_long = 10;
const COMMAND_BTF_LOAD: libc::c_long = 18;
const PROGRAM_TYPE_XDP: u32 = 6;
const XDP_PASS: u32 = 2;

/// A loaded program that runs for a while.
pub(crate) struct Standstill {
    program: OwnedFd,
}

/// Beginning of the kernel's `union bpf_attr` for BPF_PROG_LOAD.
#[derive(Default)]
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
    btf_fd: u32,
    function_info_size: u32,
    function_info: u64,
    function_info_count: u32,
    line_info_size: u32,
}

/// The same for BPF_BTF_LOAD.
#[derive(Default)]
#[repr(C)]
struct BtfLoad {
    btf: u64,
    log_buffer: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    log_true_size: u32,
}

/// The same for BPF_PROG_TEST_RUN.
#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    return_value: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

impl Standstill {
    /// Loads a program that takes `length`, at most 100 ms.
    pub(crate) fn load(length: Duration) -> Self {
        assert!(
            length <= Duration::from_millis(100),
            "8 million passes, some 20 ns each, are all that bpf_loop allows"
        );
        let btf = load_btf();
        let (instructions, callback) = instructions(length.as_nanos() as u64);
        // Instruction and BTF type of each function, see `btf`.
        let functions: [u32; 4] = [0, 4, callback, 6];
        let mut log = vec![0_u8; 1 << 16];
        let load = ProgramLoad {
            program_type: PROGRAM_TYPE_XDP,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 1,
            log_size: log.len() as u32,
            log_buffer: log.as_mut_ptr() as u64,
            btf_fd: btf.as_raw_fd() as u32,
            function_info_size: 8,
            function_info: functions.as_ptr() as u64,
            function_info_count: 2,
            ..ProgramLoad::default()
        };
        let mut load = load;
        let fd = bpf(COMMAND_PROGRAM_LOAD, &mut load)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0')));
        // SAFETY: a new descriptor that nobody else owns.
        Self { program: unsafe { OwnedFd::from_raw_fd(fd) } }
    }

    /// Holds the processor of the calling thread.
    pub(crate) fn run(&self) {
        let frame = [0_u8; 64];
        let mut run = TestRun {
            program: self.program.as_raw_fd() as u32,
            data_in_size: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        bpf(COMMAND_TEST_RUN, &mut run).unwrap();
        assert_eq!(run.return_value, XDP_PASS);
    }
}

/// The instructions, and the place of the callback among them.
fn instructions(length_ns: u64) -> (Vec<u64>, u32) {
    const KTIME_GET_NS: u32 = 5;
    const LOOP: u32 = 181;
    const PASSES: u32 = 1 << 23;
    const CALLBACK: u32 = 14;
    /// `src` of a 64-bit load that means: address of a function of this program.
    const FUNCTION: u8 = 4;
    let program = vec![
        // deadline = now + length
        instruction(0x85, 0, 0, 0, KTIME_GET_NS),
        instruction(0x18, 1, 0, 0, length_ns as u32),
        instruction(0, 0, 0, 0, (length_ns >> 32) as u32),
        instruction(0x0f, 0, 1, 0, 0),
        instruction(0x7b, 10, 0, -8, 0),
        // bpf_loop(PASSES, callback, &deadline, 0)
        instruction(0xb7, 1, 0, 0, PASSES),
        instruction(0x18, 2, FUNCTION, 0, CALLBACK - 7),
        instruction(0, 0, 0, 0, 0),
        instruction(0xbf, 3, 10, 0, 0),
        instruction(0x07, 3, 0, 0, (-8_i32).cast_unsigned()),
        instruction(0xb7, 4, 0, 0, 0),
        instruction(0x85, 0, 0, 0, LOOP),
        instruction(0xb7, 0, 0, 0, XDP_PASS),
        instruction(0x95, 0, 0, 0, 0),
        // callback(pass, &deadline): go on while now < deadline
        instruction(0xbf, 6, 2, 0, 0),
        instruction(0x85, 0, 0, 0, KTIME_GET_NS),
        instruction(0x79, 1, 6, 0, 0),
        instruction(0xbf, 2, 0, 0, 0),
        instruction(0xb7, 0, 0, 0, 0),
        instruction(0xad, 2, 1, 1, 0),
        instruction(0xb7, 0, 0, 0, 1),
        instruction(0x95, 0, 0, 0, 0),
    ];
    (program, CALLBACK)
}

/// `struct bpf_insn` of a little-endian machine.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate) << 32
}

/// Types 1 to 6: int, void *, int (void *), static `hold`, int (int, void *), static `again`.
fn load_btf() -> OwnedFd {
    const INT: u32 = 1 << 24;
    const POINTER: u32 = 2 << 24;
    const FUNCTION: u32 = 12 << 24;
    const PROTOTYPE: u32 = 13 << 24;
    const SIGNED_32_BITS: u32 = 1 << 24 | 32;
    let strings = b"\0int\0context\0hold\0again\0";
    let (int, context, hold, again) = (1, 5, 13, 18);
    let types: Vec<u32> = [
        &[int, INT, 4, SIGNED_32_BITS][..],
        &[0, POINTER, 0],
        &[0, PROTOTYPE | 1, 1, context, 2],
        &[hold, FUNCTION, 3],
        &[0, PROTOTYPE | 2, 1, int, 1, context, 2],
        &[again, FUNCTION, 5],
    ]
    .concat();
    let type_bytes: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut btf = Vec::new();
    btf.extend(0xeb9f_u16.to_ne_bytes());
    btf.extend([1, 0]);
    for word in [24, 0, type_bytes.len() as u32, type_bytes.len() as u32, strings.len() as u32] {
        btf.extend(word.to_ne_bytes());
    }
    btf.extend(type_bytes);
    btf.extend(strings);
    let mut load = BtfLoad { btf: btf.as_ptr() as u64, btf_size: btf.len() as u32, ..BtfLoad::default() };
    let fd = bpf(COMMAND_BTF_LOAD, &mut load).unwrap();
    // SAFETY: a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are the beginning of the kernel's union for this command, of the size that is given, and
    // what they point to lives in the callers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
