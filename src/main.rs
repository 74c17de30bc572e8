//! Arguments to commands; everything else lives in `cli`.

/// Memory is wiped as it is given back: descriptions with keys, their copies for retransmission, what the handshakes of
/// browsers export, a caller's name. Nobody has to think of it, and no library can forget it. The way of a packet
/// through a call allocates nothing, so that costs nothing there.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    hulplijn::cli::main()
}
