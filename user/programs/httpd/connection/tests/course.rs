//! Conversations as a whole: many requests, slow clients, noise.

use super::super::super::content::CONTENT_MAX;
use super::*;

/// Requests of every kind one after another, and how many responses they get.
fn conversation() -> (String, usize) {
    let mut text = String::new();
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1",
        "GET /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=5-4999\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nGET /\r\n0\r\nX: y\r\n\r\n",
        "GET /docs/a%20b.css HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for round in 0..30 {
        text.push_str(requests[round % requests.len()]);
    }
    text.push_str("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    (text, 31)
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_arrive() {
    let (text, count) = conversation();
    let mut whole = Talk::new();
    let said = whole.say(&text);
    assert_eq!(whole.counters.requests, count as u64);
    assert!(!whole.open);
    let mut seed = 1u32;
    for pieces in 0..60 {
        let mut talk = Talk::new();
        let mut rest = text.as_bytes();
        let mut heard = Vec::new();
        while !rest.is_empty() && talk.open {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = match pieces {
                0 => 1,
                _ => 1 + (seed >> 8) as usize % (pieces * 20),
            };
            let (now, later) = rest.split_at(size.min(rest.len()));
            if pieces % 2 == 1 {
                talk.line().trickle(1 + pieces);
            }
            talk.network.busy = pieces % 3 == 1;
            heard.extend(talk.say(now));
            rest = later;
        }
        assert!(heard == said, "pieces {pieces}");
        assert!(!talk.open);
    }
}

#[test]
fn a_thousand_requests_at_once_do_not_stall_or_pile_up() {
    let mut talk = Talk::new();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let said = talk.say(request.repeat(1000));
    assert_eq!(talk.counters.requests, 1000);
    assert_eq!(said.len() % 1000, 0);
    // And if the client does not take the answers, the rest stays unread.
    talk.line().take(0);
    talk.say(request.repeat(1000));
    assert!(talk.counters.requests < 1100);
    assert!(talk.line().unread() > 20_000);
    talk.line().take(usize::MAX);
    talk.run();
    assert_eq!(talk.counters.requests, 2000);
}

#[test]
fn a_client_that_ends_its_direction_gets_its_answers() {
    let mut talk = Talk::new();
    talk.line().send(
        "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n"
            .repeat(3)
            .as_bytes(),
    );
    talk.line().end();
    talk.run();
    assert_eq!(talk.counters.requests, 3);
    assert!(!talk.open && talk.line().received().len() > 900_000);
    // One that ends in the middle of a head wanted nothing.
    let mut talk = Talk::new();
    talk.line().end();
    assert_eq!(talk.say("GET / HT"), b"");
    assert!(!talk.open);
}

#[test]
fn content_of_unknown_fate_ends_the_connection() {
    let mut talk = Talk::new();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";
    let response = talk.ask(format!("{head}Expect: 100-continue\r\n\r\n"));
    assert_eq!(
        (response.status, response.field("connection")),
        (405, "close")
    );
    talk.say("hello");
    talk.line().end();
    talk.run();
    assert!(!talk.open);
    // Without content there is nothing to be unsure of.
    let mut talk = Talk::new();
    assert_eq!(
        talk.get("/", "Expect: 100-continue\r\n")
            .field("connection"),
        ""
    );
    // Chunks without end.
    let mut talk = Talk::new();
    let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(talk.say(head), b"");
    talk.say("400\r\n".to_string() + &"x".repeat(1024) + "\r\n");
    assert!(talk.open && !talk.line().finished);
    for _ in 0..CONTENT_MAX / 1024 {
        talk.say("400\r\n".to_string() + &"x".repeat(1024) + "\r\n");
    }
    assert!(talk.line().finished);
}

#[test]
fn a_slow_head_is_refused_in_time() {
    let mut talk = Talk::new();
    talk.say("GET / HTTP/1.1\r\n");
    for byte in "Host: a long name".bytes() {
        talk.now += SECOND / 2;
        talk.say([byte]);
    }
    assert_eq!(talk.connection.deadline(), HEAD_NS);
    talk.wait();
    let (response, _) = Response::parse(&talk.line().received(), false);
    assert_eq!(
        (response.status, response.field("connection")),
        (408, "close")
    );
    assert!(talk.line().finished);
    talk.wait();
    assert!(!talk.open);
    assert_eq!(talk.counters.timed_out, 2);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut talk = Talk::new();
    assert_eq!(talk.wait(), HEAD_NS);
    assert!(!talk.open && talk.line().received().is_empty());

    let mut talk = Talk::new();
    talk.now = 5 * SECOND;
    talk.get("/", "");
    talk.now += SECOND;
    // Empty lines are no request and gain no time.
    for _ in 0..10 {
        talk.say("\r\n\r\n");
    }
    assert!(talk.connection.deadline() <= 5 * SECOND + IDLE_NS);
    talk.wait();
    assert!(!talk.open && talk.line().received().is_empty());
}

#[test]
fn content_that_does_not_come_ends_the_connection() {
    let mut talk = Talk::new();
    talk.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n");
    for _ in 0..9 {
        talk.now += SECOND;
        assert_eq!(talk.say("x"), b"");
    }
    assert_eq!(talk.wait(), HEAD_NS - 9 * SECOND);
    let (response, _) = Response::parse(&talk.line().received(), false);
    assert_eq!(
        (response.status, response.field("connection")),
        (408, "close")
    );
}

#[test]
fn a_client_that_takes_nothing_or_too_little_is_given_up() {
    let mut talk = Talk::new();
    talk.line().take(0);
    talk.say("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(talk.wait(), STALL_NS);
    assert!(!talk.open);

    let mut talk = Talk::new();
    talk.line().take(0);
    talk.say("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    while talk.open {
        talk.now += SECOND;
        talk.line().take(100);
        talk.expire();
    }
    let most = RESPONSE_NS + 301_000 * SECOND / RATE;
    assert!(
        talk.now > 5 * STALL_NS && talk.now <= most + SECOND,
        "{}",
        talk.now
    );
}

/// A client that has taken the head of a large answer: the network has the rest of it.
fn one_that_takes_the_head() -> Talk {
    let mut talk = Talk::new();
    talk.line().take(1000);
    talk.say("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(talk.connection.output, Output::Handed { .. }));
    talk.line().take(0);
    talk
}

#[test]
fn a_client_that_stalls_amid_an_answer_is_given_up_and_one_that_goes_on_is_not() {
    let mut talk = one_that_takes_the_head();
    assert_eq!(talk.wait(), STALL_NS);
    assert!(!talk.open);
    assert_eq!(talk.counters.timed_out, 1);

    // Only the network knows when it took something last.
    let mut talk = one_that_takes_the_head();
    talk.now = 10 * SECOND;
    talk.line().take(500);
    talk.run();
    talk.line().take(0);
    assert_eq!(talk.wait(), STALL_NS - 10 * SECOND);
    assert!(talk.open && talk.counters.timed_out == 0);
    assert_eq!(talk.connection.deadline(), 10 * SECOND + STALL_NS);
    talk.wait();
    assert!(!talk.open);
    assert_eq!(
        (talk.now, talk.counters.timed_out),
        (10 * SECOND + STALL_NS, 1)
    );

    // Until the network has answered, it is not asked again.
    let mut talk = one_that_takes_the_head();
    talk.now = talk.connection.deadline();
    talk.hear(News::Expired);
    assert_eq!(talk.connection.deadline(), talk.now + STALL_NS);

    // By the time of the answer all may have been taken.
    let mut talk = Talk::new();
    let before = talk.connection.deadline();
    talk.hear(News::Stalled(STALL_NS));
    assert!(talk.open && talk.connection.deadline() == before);
}

#[test]
fn a_client_that_takes_an_answer_too_slowly_is_given_up_at_its_limit() {
    let mut talk = one_that_takes_the_head();
    let limit = talk.connection.limit;
    for _ in 0..1000 {
        if !talk.open {
            break;
        }
        talk.now = limit.min(talk.now + 5 * SECOND);
        talk.line().take(100);
        talk.expire();
    }
    assert!(!talk.open);
    assert_eq!((talk.now, talk.counters.timed_out), (limit, 1));
}

#[test]
fn an_answer_that_is_cut_has_moved_if_a_byte_of_it_left() {
    let mut talk = one_that_takes_the_head();
    talk.now = 5 * SECOND;
    talk.hear(News::Cut(100, b"head", b"body"));
    assert_eq!(talk.connection.deadline(), 5 * SECOND + STALL_NS);
    talk.now = 7 * SECOND;
    talk.hear(News::Cut(0, b"head", b"body"));
    assert_eq!(talk.connection.deadline(), 5 * SECOND + STALL_NS);
}

#[test]
fn a_refused_client_that_keeps_sending_is_cut_off() {
    let mut talk = Talk::new();
    talk.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    assert!(talk.line().finished);
    for _ in 0..LINGER_MAX / 1000 {
        talk.say([0; 1000]);
        assert!(talk.open);
    }
    talk.say([0; 1000]);
    assert!(!talk.open);
    let mut talk = Talk::new();
    talk.ask("GARBAGE\r\n\r\n");
    assert_eq!(talk.wait(), LINGER_NS);
    assert!(!talk.open);
}

#[test]
fn a_long_head_gives_its_memory_back() {
    let mut talk = Talk::new();
    let cookie = format!("Cookie: {}\r\n", "c".repeat(10_000));
    assert_eq!(talk.get("/", &cookie).status, 200);
    assert_eq!(talk.connection.input.capacity(), 0);
    assert_eq!(talk.get("/", "").status, 200);
    assert_eq!(talk.connection.input.capacity(), 0);
    // Nor is it held twice while content is to come.
    let post = format!("POST / HTTP/1.1\r\nHost: a\r\n{cookie}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(talk.say(post + "5"), b"");
    assert!(talk.connection.input.capacity() < 100);
    assert!(talk.connection.head.capacity() < 11_000);
    assert!(
        talk.say("\r\nhello\r\n0\r\n\r\n")
            .starts_with(b"HTTP/1.1 405 ")
    );
    assert_eq!(talk.connection.head.capacity(), 0);
}

#[test]
fn a_reset_ends_it() {
    let mut talk = Talk::new();
    talk.get("/", "");
    talk.line().reset();
    talk.run();
    assert!(!talk.open);
}

/// Whatever comes, the connection neither panics nor grows nor rests with work undone.
#[test]
fn noise_does_no_harm() {
    let (text, _) = conversation();
    let mut seed = 7u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..3000 {
        let mut talk = Talk::new();
        let mut bytes = text.as_bytes()[random(400)..][..400 + random(400)].to_vec();
        for _ in 0..random(12) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, b"\r\n :/%?0\0"[random(9)]),
                _ => {
                    let copy = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        talk.line().trickle(1 + random(300));
        talk.say(&bytes);
        if talk.open {
            talk.line().end();
            talk.run();
        }
        assert!(!talk.open);
        let said = talk.line().received();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "));
    }
}
