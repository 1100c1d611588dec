//! Clients that send what they should not, say nothing, or do not read.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::{self, Load};
use replicamq_harness::process::Node;
use replicamq_harness::stomp::{Client, Frame};
use replicamq_harness::wait;

/// What a master may use, whatever clients do to it.
const RESIDENT_MIB_MAX: u64 = 300;

/// A frame never ends here.
const ENDLESS: usize = 256 << 20;

/// Writes raw bytes until all are gone or the broker has had enough, and hears it out.
fn raw(address: SocketAddr, pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Frame> {
    let mut client = Client::open(address).expect("a master listens");
    client.wait_at_most(wait::PATIENCE);
    for piece in pieces {
        if client.socket().write_all(&piece).is_err() {
            break;
        }
    }
    client.rest()
}

fn once(address: SocketAddr, bytes: Vec<u8>) -> Vec<Frame> {
    raw(address, std::iter::once(bytes))
}

fn after_connect(more: &str) -> Vec<u8> {
    format!("CONNECT\naccept-version:1.2\nhost:/\n\n\0{more}").into_bytes()
}

#[track_caller]
fn refused(frames: &[Frame], why: &str) {
    let last = frames.last().expect("the broker says why");
    assert_eq!(last.command, "ERROR", "{last:?}");
    let said = format!("{} {}", last.header("message"), last.text());
    assert!(said.contains(why), "{said}");
}

#[test]
fn what_is_not_a_frame_is_refused_and_disturbs_nobody() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-garbage");
    load.goes_on(100);
    let master = &cluster.nodes[cluster.master()];
    garbage(master.stomp);
    too_large(master);
    header_bombs(master.stomp);
    load.goes_on(100);
    let resident = master.resident_mib();
    assert!(resident < RESIDENT_MIB_MAX, "{resident} MiB");
    load.nothing_is_lost();
}

/// Of every byte, of another protocol, after a good start.
fn garbage(port: SocketAddr) {
    let noise = (0..64 << 10).map(|byte: u32| byte.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    refused(&once(port, noise.collect()), "");
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let why = "this port speaks STOMP, but the first bytes look like";
    refused(&once(port, http), why);
    let nonsense = after_connect("NONSENSE\n\n\0");
    refused(&once(port, nonsense), "there is no STOMP command");
}

/// As announced, and without an end.
fn too_large(master: &Node) {
    let why = "the body of SEND is longer than 16777216 bytes";
    let announced = "SEND\ndestination:/queue/q\ncontent-length:99999999999\n\n";
    refused(&once(master.stomp, after_connect(announced)), why);
    let begin = std::iter::once(after_connect("SEND\ndestination:/queue/q\n\n"));
    let endless = std::iter::repeat_n(vec![b'x'; 1 << 20], ENDLESS >> 20);
    let before = master.log().matches(why).count();
    let said = raw(master.stomp, begin.chain(endless));
    // The ERROR may be lost to the reset; the log has it in any case.
    assert!(said.len() <= 2, "{said:?}");
    wait::until("the node says why it closed", || {
        (master.log().matches(why).count() > before).then_some(())
    });
}

/// By number, by length, and by the sum of both.
fn header_bombs(port: SocketAddr) {
    let bomb = |header: &dyn Fn(usize) -> String, count| {
        let headers: String = (0..count).map(header).collect();
        let frame = format!("SEND\ndestination:/queue/q\n{headers}\nbody\0");
        once(port, after_connect(&frame))
    };
    let many = bomb(&|number| format!("h{number}:v\n"), 5_000);
    refused(&many, "SEND has more than 1000 headers");
    let long = bomb(&|_| format!("h:{}\n", "v".repeat(20 << 10)), 1);
    refused(&long, "a header line of SEND is longer than 10240 bytes");
    let both = bomb(&|number| format!("h{number}:{}\n", "v".repeat(1000)), 500);
    refused(
        &both,
        "the headers of SEND are longer than 131072 bytes together",
    );
}

/// As much as the configuration allows, with nearly as long a head as the codec does:
/// alone and in a transaction, on every disk, and back.
#[test]
fn the_largest_frame_that_is_let_in_is_stored_and_comes_back() {
    const BODY_BYTES: usize = 31 << 20;
    const HEADERS: usize = 12;
    // On a busy machine nobody hears a master while so much goes by: this is about size.
    let patient = "lease = \"5s\"\nsuspicion = \"8s\"";
    let mut cluster = Cluster::start_with(&format!("frame_bytes_max = \"31MiB\"\n{patient}"));
    let names: Vec<String> = (0..HEADERS).map(|number| format!("h{number}")).collect();
    let value = "v".repeat(10_000);
    let queue = "/queue/largest";
    let body = "x".repeat(BODY_BYTES);
    let mut client = load::connect(&cluster.addresses());
    client.wait_at_most(wait::PATIENCE);
    let headers = |transaction: Option<&'static str>| {
        let own = [("destination", queue), ("persistent", "true")];
        let more = names.iter().map(|name| (name.as_str(), value.as_str()));
        let within = transaction.map(|name| ("transaction", name));
        own.into_iter()
            .chain(within)
            .chain(more)
            .collect::<Vec<_>>()
    };
    client.ask("SEND", &headers(None), &body).unwrap();
    client.ask("BEGIN", &[("transaction", "t")], "").unwrap();
    client.ask("SEND", &headers(Some("t")), &body).unwrap();
    client.ask("COMMIT", &[("transaction", "t")], "").unwrap();
    let before = cluster.master();
    let one_more = format!(
        "SEND\ndestination:{queue}\ncontent-length:{}\n\n",
        BODY_BYTES + 1
    );
    let said = once(cluster.nodes[before].stomp, after_connect(&one_more));
    refused(&said, "the body of SEND is longer than 32505856 bytes");

    cluster.nodes[before].kill();
    cluster.start_all();
    let frames = load::take_all(&cluster.addresses(), queue);
    assert_eq!(frames.len(), 2);
    for frame in frames {
        assert_eq!(frame.text().len(), BODY_BYTES);
        assert_eq!(frame.header(&names[HEADERS - 1]), value);
    }
    cluster.complete();
}

#[test]
fn half_frames_leave_nothing_behind() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-halves");
    load.goes_on(100);
    let master = &cluster.nodes[cluster.master()];
    let frame = "SEND\ndestination:/queue/halves\npersistent:true\ncontent-length:4\n\nhalf\0";
    for round in 0..10 {
        for cut in 1..frame.len() {
            let mut client = Client::open(master.stomp).unwrap();
            let bytes = after_connect(&frame[..cut]);
            client.socket().write_all(&bytes).unwrap();
            drop(client);
        }
        load.goes_on(round);
    }
    let found = load::take_all(&cluster.addresses(), "/queue/halves");
    assert!(
        found.is_empty(),
        "half a frame was taken for a whole one: {found:?}"
    );
    load.nothing_is_lost();
}

#[test]
fn thousands_that_say_nothing_are_closed_in_time_and_others_are_served() {
    more_files();
    let cluster = Cluster::start_with("connect_timeout = \"10s\"");
    let load = Load::start(&cluster.addresses(), "/queue/beside-silence");
    load.goes_on(100);
    let master = &cluster.nodes[cluster.master()];
    let mut silent: Vec<Client> = (0..3_000)
        .map(|_| Client::open(master.stomp).unwrap())
        .collect();
    load.goes_on(500);
    let resident = master.resident_mib();
    assert!(resident < RESIDENT_MIB_MAX, "{resident} MiB");
    // Each is told, in its time.
    for client in &mut silent {
        client.wait_at_most(wait::PATIENCE);
        refused(&client.rest(), "no CONNECT within 10000 ms");
    }
    load.goes_on(100);
    load.nothing_is_lost();
}

#[test]
fn one_connection_too_many_is_refused_and_the_others_stay() {
    let cluster = Cluster::start_with("connections_max = 20");
    let master = &cluster.nodes[cluster.master()];
    let load = Load::start(&cluster.addresses(), "/queue/beside-many");
    load.goes_on(100);
    let mut many: Vec<Client> = (0..30)
        .map(|_| Client::open(master.stomp).unwrap())
        .collect();
    master.says("connections_max is reached");
    load.goes_on(100);
    let mut told = Vec::new();
    wait::until("ten of them are told why", || {
        for client in &mut many {
            client.wait_at_most(Duration::from_millis(20));
            told.push(client.rest());
        }
        told.retain(|frames| !frames.is_empty());
        (told.len() >= 10).then_some(())
    });
    for frames in &told {
        refused(
            frames,
            "this broker has 20 client connections already, as many as its setting connections_max allows",
        );
    }
    assert!(told.len() < 30, "all were refused");
    // Room again, once some are gone.
    many.clear();
    load::connect(&[master.stomp]);
    load.nothing_is_lost();
}

#[test]
fn a_client_that_never_reads_costs_little_and_loses_nothing() {
    const COUNT: usize = 10_000;
    /// What a socket and the outstanding deliveries of a connection may hold.
    const TAKEN_MAX: usize = 4_000;
    let cluster = Cluster::start();
    let master = &cluster.nodes[cluster.master()];
    let mut sender = Client::connect(master.stomp).unwrap();
    let body = "x".repeat(10 << 10);
    let lazy = [
        ("/queue/individual", "client-individual"),
        ("/queue/auto", "auto"),
    ];
    for number in 0..COUNT {
        for (queue, _) in lazy {
            let headers = [("destination", queue), ("persistent", "true")];
            sender.write("SEND", &headers, &format!("{number} {body}"));
        }
        if number % 100 == 99 {
            sender.send("/queue/pace", "so far").unwrap();
        }
    }
    let before = master.resident_mib();
    let never = lazy.map(|(queue, ack)| {
        let mut client = Client::connect(master.stomp).unwrap();
        let headers = [("id", "0"), ("destination", queue), ("ack", ack)];
        client.write("SUBSCRIBE", &headers, "");
        client.flush().unwrap();
        client
    });
    let load = Load::start(&cluster.addresses(), "/queue/beside-lazy");
    load.goes_on(500);
    let more = master.resident_mib().saturating_sub(before);
    assert!(more < 150, "{more} MiB more");
    drop(never);
    // All that nobody acknowledged comes back, in order; `auto` gives up what it was sent.
    let frames = load::take_all(&cluster.addresses(), "/queue/individual");
    for (number, frame) in frames.iter().enumerate() {
        assert!(
            frame.text().starts_with(&format!("{number} x")),
            "number {number}"
        );
    }
    assert_eq!(frames.len(), COUNT);
    let frames = load::take_all(&cluster.addresses(), "/queue/auto");
    let lost = COUNT - frames.len();
    assert!(lost < TAKEN_MAX, "{lost} went to one that does not read");
    load.goes_on(100);
    load.nothing_is_lost();
}

/// Room for thousands of sockets in this process and those that it starts.
fn more_files() {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile=16384:"])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "prlimit (util-linux) is needed"
    );
}
