//! Process 1 of a virtual machine, see `heartbeat_vm::guest`.

fn main() {
    heartbeat_vm::guest::main();
}
