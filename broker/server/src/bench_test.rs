//! The command line of a bench.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Bench {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(flags: &[&str]) -> BenchArgs {
    let program = ["bench"];
    let flags = program.iter().chain(flags);
    Bench::try_parse_from(flags).unwrap().args
}

#[test]
fn each_pair_has_a_queue_unless_told_otherwise() {
    let one = args(&[]);
    assert_eq!((one.queues(), one.queue(0)), (1, "/queue/bench".to_owned()));
    let eight = args(&["--producers", "8", "--consumers", "4"]);
    assert_eq!(
        (eight.queues(), eight.queue(5)),
        (4, "/queue/bench-2".to_owned())
    );
    let shared = args(&["--producers", "8", "--consumers", "8", "--queues", "1"]);
    assert_eq!(shared.queue(7), "/queue/bench");
    let fill = args(&["--consumers", "0"]);
    assert_eq!(fill.queues(), 1);
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused() {
    for (flags, reason) in [
        (&["--size", "31"][..], "is too small"),
        (&["--queues", "2"], "nobody would receive"),
        (&["--producers", "10000"], "more than 10000 connections"),
    ] {
        let error = bench(args(flags)).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(Bench::try_parse_from(["bench", "--destination", "/topic/x"]).is_err());
}
