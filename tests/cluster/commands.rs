//! The client's commands against real brokers.

use std::process::{Child, Output, Stdio};

use replicamq_harness::cluster::Cluster;
use replicamq_harness::{process, wait};

/// A command that runs on for ever is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a command that says little, to its end.
#[track_caller]
fn run(arguments: &[&str]) -> Output {
    let mut command = process::command();
    command.args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().expect("the binary can be run"));
    let ended = wait::until(&format!("{arguments:?} ends"), || {
        running.0.try_wait().expect("a child can be asked")
    });
    let mut output = Output {
        status: ended,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
    let pipes = "its output was piped";
    std::io::copy(&mut stdout.expect(pipes), &mut output.stdout).expect(pipes);
    std::io::copy(&mut stderr.expect(pipes), &mut output.stderr).expect(pipes);
    output
}

#[test]
fn a_message_over_the_limit_ends_send_with_the_reason() {
    let cluster = Cluster::start();
    let addresses = cluster.addresses();
    let list: Vec<String> = addresses.iter().map(|one| format!("tcp://{one}")).collect();
    let uri = format!("failover:({})", list.join(","));
    for more in [&[][..], &["--receipt", "false"]] {
        let mut arguments = vec!["send", "/queue/large", "--broker", &uri];
        arguments.extend(["--size", "20971520"]);
        arguments.extend(more);
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("is longer than 16777216 bytes"), "{said}");
    }
}
