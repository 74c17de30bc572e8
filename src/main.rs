//! Arguments to commands; everything else lives in `cli`.

fn main() -> std::process::ExitCode {
    hulplijn::cli::main()
}
