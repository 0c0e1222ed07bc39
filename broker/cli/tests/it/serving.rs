//! `serve`: the banner, the ready line, the orderly end, and each refusal to start.

use crate::server::Server;
use crate::{Ran, run};
use std::process::Stdio;

#[test]
fn the_banner_has_six_lines_and_says_what_was_found() {
    let mut server = Server::start();
    let (code, said) = server.stop("TERM");
    assert_eq!(code, 0, "{said}");
    let words: Vec<&str> =
        said.lines().take(6).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(words, ["posthaste", "data", "clients", "http", "durability", "access"], "{said}");
    assert!(said.contains(&server.url()), "{said}");
    assert!(said.lines().last().unwrap().contains("sealed"), "{said}");
}

#[test]
fn an_orderly_stop_by_either_signal_keeps_everything() {
    let mut server = Server::start();
    server.ok(&["queue", "set", "orders"]);
    for (signal, body) in [("TERM", "a"), ("INT", "b")] {
        server.ok(&["pub", "orders", body]);
        let (code, said) = server.stop(signal);
        assert_eq!(code, 0, "{signal}: {said}");
        server.start_again();
    }
    assert_eq!(server.ok(&["peek", "orders"]), "a\nb\n");
}

#[test]
fn a_crash_keeps_what_was_confirmed() {
    let mut server = Server::start();
    server.ok(&["queue", "set", "orders"]);
    server.ok(&["pub", "orders", "kept"]);
    server.kill();
    server.start_again();
    assert_eq!(server.ok(&["consume", "orders", "--count", "1"]), "kept\n");
}

fn refused(server: &Server, address: &str) -> Ran {
    let mut command = server.command();
    // The last of two equal flags would be an error, so the address goes in by hand.
    let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let mut other = std::process::Command::new(command.get_program());
    for arg in &args {
        other.arg(if arg == server.address.as_str() { address.as_ref() } else { arg.as_os_str() });
    }
    command.stdin(Stdio::null());
    other.stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn a_second_process_on_the_data_directory_is_refused() {
    let server = Server::start();
    let ran = refused(&server, "127.0.0.1:0");
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("error PH-0602: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("more:"), "{}", ran.stderr);
    server.ok(&["ping"]);
}

#[test]
fn an_address_in_use_is_refused_with_the_next_step() {
    let server = Server::start();
    let other = server.scratch().join("other");
    let args = ["serve", "--http", "off", "--data", other.to_str().unwrap(), "--listen"];
    let ran = run(&[&args[..], &[&server.address]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error PH-0601: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("--listen 127.0.0.1:0"), "{}", ran.stderr);
    assert!(!other.exists(), "a refused broker leaves no directory behind");
}

#[test]
fn a_directory_that_cannot_be_made_is_refused_by_name() {
    let ran = run(&["serve", "--http", "off", "--listen", "127.0.0.1:0", "--data", "/dev/null/x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error PH-0607: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/null/x"), "{}", ran.stderr);
}
