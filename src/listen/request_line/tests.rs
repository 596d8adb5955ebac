use super::*;

/// A message that a client sends, what hyper is to get of it, and what hyper says then.
struct Message {
    sent: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
    body_length: Option<u64>,
    may_become_tunnel: bool,
}

fn message(head: &str, body: &str, body_length: Option<u64>, end: &str) -> Message {
    let head = head.replace("\r\n", end);
    let (method, fields) = head.split_once(" /\"<>`\u{e9} ").expect("every head has this target");
    let encoded = format!("{method} /%22%3C%3E%60%C3%A9 {fields}");
    let sent = format!("{head}{body}").into_bytes();
    let may_become_tunnel = body_length != Some(0) && head.contains("Upgrade");
    Message { sent, head: encoded.into(), body: body.into(), body_length, may_become_tunnel }
}

fn messages(end: &str) -> Vec<Message> {
    let get = "GET /\"<>`\u{e9} HTTP/1.1\r\nHost: \"<\u{e9}\r\n";
    let odd = "\r\nGET /\"<>`\u{e9} HTTP/1.1\r\n\r\n";
    let sized = Some(odd.len() as u64);
    let chunked = format!("{:x};x=\"<\"\r\n{odd}\r\n0\r\n", odd.len());
    [
        (format!("{get}\r\n"), String::new(), Some(0)),
        (format!("\r\n\r\n{get}\r\n"), String::new(), Some(0)),
        (format!("\nG`T{}\r\n", get.trim_start_matches("GET")), String::new(), Some(0)),
        (format!("{get}Upgrade: refused\r\n\r\n"), String::new(), Some(0)),
        (format!("CONNECT{}\r\n", get.trim_start_matches("GET")), String::new(), Some(0)),
        (format!("{get}content-length: 0\r\n\r\n"), String::new(), Some(0)),
        (format!("{get}Content-Length: {}\r\n\r\n", odd.len()), odd.to_owned(), sized),
        (format!("{get}Content-Length: {}\r\nUpgrade: refused\r\n\r\n", odd.len()), odd.to_owned(), sized),
        (format!("{get}Transfer-Encoding: chunked\r\n\r\n"), format!("{chunked}\r\n"), None),
        (format!("{get}TRANSFER-ENCODING: Chunked\r\nExpect: 100-continue\r\n\r\n"), "0\r\n\r\n".to_owned(), None),
        (format!("{get}Transfer-Encoding:chunked\r\n\r\n"), format!("{chunked}X: \"<\r\nY: 1\r\n\r\n"), None),
        (format!("{get}Transfer-Encoding: ,chunked\r\n\r\n"), format!("{chunked}X: \"<\r\n\r\n"), None),
    ]
    .into_iter()
    .map(|(head, body, length)| message(&head, &body, length, end))
    .collect()
}

/// What hyper gets of `messages` when it comes in `reads`, each time into a buffer with this much room.
fn passed(messages: &[&Message], reads: &[&[u8]], room: usize) -> Vec<u8> {
    let (mut lines, mut passed) = (RequestLines::new(), Vec::new());
    let latest = |passed: usize| {
        let mut ends = 0;
        let taken = messages.iter().take_while(|message| {
            let is_taken = ends + message.head.len() <= passed;
            ends += message.head.len() + message.body.len();
            is_taken
        });
        let (body_length, may_become_tunnel) =
            taken.last().map_or((Some(0), false), |message| (message.body_length, message.may_become_tunnel));
        Latest { is_busy: false, body_length, may_become_tunnel }
    };
    for read in reads {
        for part in read.chunks(room) {
            let mut space = vec![0; part.len()];
            let mut buf = ReadBuf::new(&mut space);
            buf.put_slice(part);
            let Left { encoded, mut held } = lines.pass(&mut buf, 0, latest(passed.len())).unwrap_or_default();
            passed.extend_from_slice(buf.filled());
            passed.extend_from_slice(&encoded);
            while !held.is_empty() {
                let mut buf = ReadBuf::new(&mut space);
                let (taken, encoded) = lines.pass_ahead(&held, &mut buf, latest(passed.len()));
                held = held.slice(taken..);
                passed.extend_from_slice(buf.filled());
                passed.extend_from_slice(&encoded);
            }
        }
    }
    passed
}

fn check(messages: &[&Message], cuts: &[usize], room: usize) {
    let sent = messages.iter().flat_map(|message| message.sent.clone()).collect::<Vec<_>>();
    let expected = messages.iter().flat_map(|message| [&message.head[..], &message.body].concat()).collect::<Vec<_>>();
    let mut reads = Vec::new();
    let mut rest = &sent[..];
    for cut in cuts {
        let (read, behind) = rest.split_at(*cut);
        reads.push(read);
        rest = behind;
    }
    reads.push(rest);
    reads.retain(|read| !read.is_empty());
    let passed = passed(messages, &reads, room);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(passed == expected, "cut at {cuts:?}, {room}:\n{}\n\nexpected:\n{}", text(&passed), text(&expected));
}

#[test]
fn every_target_is_encoded_whatever_came_before_it_and_in_any_pieces() {
    for end in ["\r\n", "\n"] {
        let messages = messages(end);
        for first in &messages {
            for second in &messages {
                let pair = [first, second, &messages[0]];
                for cut in 0..=first.sent.len() + second.sent.len() {
                    check(&pair, &[cut], usize::MAX);
                }
                // Each message in a read of its own.
                check(&pair, &[first.sent.len(), second.sent.len()], usize::MAX);
            }
        }
        let all = messages.iter().collect::<Vec<_>>();
        for room in 1..200 {
            check(&all, &[], room);
        }
        check(&all, &[], usize::MAX);
    }
}

/// The bytes of a tunnel are not those of a head, whatever they look like.
#[test]
fn what_comes_behind_an_accepted_upgrade_is_left_alone() {
    let head = b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
    let behind = b"GET /\"< HTTP/1.1\r\n\r\n";
    let upgraded = Latest { is_busy: true, body_length: Some(0), may_become_tunnel: false };
    for reads in [&[&[&head[..], behind].concat()[..], behind][..], &[&head[..], behind, behind]] {
        let (mut lines, mut passed, mut ahead) = (RequestLines::new(), Vec::new(), Bytes::new());
        for read in reads {
            let mut space = vec![0; 1_000];
            while !ahead.is_empty() {
                let mut buf = ReadBuf::new(&mut space);
                let (taken, encoded) = lines.pass_ahead(&ahead, &mut buf, upgraded);
                assert!(encoded.is_empty());
                passed.extend_from_slice(buf.filled());
                ahead = ahead.slice(taken..);
            }
            let mut buf = ReadBuf::new(&mut space);
            buf.put_slice(read);
            ahead = lines.pass(&mut buf, 0, upgraded).unwrap_or_default().held;
            passed.extend_from_slice(buf.filled());
        }
        passed.extend_from_slice(&ahead);
        let expected = [&head[..], behind, behind].concat();
        assert_eq!(passed, expected);
    }
}

/// Nor are they behind the body of a request that asks for another protocol.
#[test]
fn what_comes_behind_the_body_of_an_accepted_upgrade_is_left_alone() {
    let behind = b"cat <in >out `x`\r\n\r\nGET /\"< HTTP/1.1\r\n\r\n";
    for (field, body, body_length) in [
        ("Content-Length: 5", "12345", Some(5)),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\nX: 1\r\n\r\n", None),
    ] {
        let head = format!("POST /exec HTTP/1.1\r\nUpgrade: tcp\r\n{field}\r\n\r\n");
        let whole = [head.as_bytes(), body.as_bytes(), behind].concat();
        let of = |passed: &[u8]| {
            let is_busy = passed.len() >= head.len();
            let body_length = if is_busy { body_length } else { Some(0) };
            Latest { is_busy, body_length, may_become_tunnel: is_busy }
        };
        for cut in 1..whole.len() {
            for size in [1, cut, whole.len()] {
                let (mut lines, mut passed, mut space) = (RequestLines::new(), Vec::new(), vec![0; whole.len()]);
                for read in whole[..cut].chunks(size).chain(whole[cut..].chunks(size)) {
                    let mut buf = ReadBuf::new(&mut space);
                    buf.put_slice(read);
                    let mut ahead = lines.pass(&mut buf, 0, of(&passed)).unwrap_or_default().held;
                    passed.extend_from_slice(buf.filled());
                    while !ahead.is_empty() {
                        let mut buf = ReadBuf::new(&mut space);
                        let (taken, encoded) = lines.pass_ahead(&ahead, &mut buf, of(&passed));
                        assert!(encoded.is_empty());
                        passed.extend_from_slice(buf.filled());
                        ahead = ahead.slice(taken..);
                    }
                }
                assert_eq!(String::from_utf8_lossy(&passed), String::from_utf8_lossy(&whole), "{field} {cut} {size}");
            }
        }
    }
}

/// hyper takes the shorter of two ends for the end of a head: what is behind it is its body.
#[test]
fn a_head_that_ends_with_a_bare_line_feed_is_no_plain_head() {
    assert!(is_plain_head(b"POST /a HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(!is_plain_head(b"POST /a HTTP/1.1\nHost: x\nContent-Length: 4\n\r\n\r\n"));
}

/// Such a method is refused, but its target is not what is refused.
#[test]
fn a_head_that_goes_on_is_encoded_byte_by_byte() {
    let mut lines = RequestLines::new();
    let mut passed = Vec::new();
    for byte in b"\r\nG`T /a<b\xff HTTP/1.1\r\nX: \"\r\n" {
        let mut space = [0; 1];
        let mut buf = ReadBuf::new(&mut space);
        buf.put_slice(&[*byte]);
        let left = lines.pass(&mut buf, 0, Latest { is_busy: false, body_length: Some(0), may_become_tunnel: false });
        passed.extend_from_slice(buf.filled());
        passed.extend_from_slice(&left.unwrap_or_default().encoded);
    }
    assert_eq!(passed, b"\r\nG`T /a%3Cb%FF HTTP/1.1\r\nX: \"\r\n");
}
