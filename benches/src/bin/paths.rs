//! Runs one path so many times, for a tool that counts instructions: `paths publish 1000 1` publishes a thousand batches of one
//! message. Paths: `publish`, `deliver` (publish and deliver), `settle` (publish, deliver and settle).

use posthaste_benches::path::Path;
use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, times, count] = &args[..] else { return usage() };
    let (Ok(times), Ok(count)) = (times.parse::<u32>(), count.parse::<u32>()) else {
        return usage();
    };
    let mut path = Path::new(count, 100);
    for _ in 0..times {
        black_box(path.publish());
        if name == "publish" {
            continue;
        }
        let (delivered, head, bytes) = black_box(path.deliver());
        drop((head, bytes));
        if name == "settle" {
            path.settle(delivered);
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: paths publish|deliver|settle <batches> <messages in a batch>");
    ExitCode::from(2)
}
