//! Checks a history that a failed run has kept: `cargo run --example check -- FILE`.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use chronos_tests::{checker, history};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: check FILE");
        return ExitCode::from(2);
    };
    let records = File::open(&path)
        .map(BufReader::new)
        .and_then(history::read_lines);
    match records {
        Ok(records) => {
            let report = checker::check(&records);
            println!("{}", report.explain(&records));
            ExitCode::from(u8::from(!report.is_clean()))
        }
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::from(2)
        }
    }
}
