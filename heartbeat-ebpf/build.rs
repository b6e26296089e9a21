//! Rebuilds the object when the linker changes: bpf-linker is an input that cargo does not see.

fn main() {
    println!("cargo:rerun-if-env-changed=PATH");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if let Some(linker) = std::env::split_paths(&paths).map(|path| path.join("bpf-linker")).find(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", linker.display());
    }
}
